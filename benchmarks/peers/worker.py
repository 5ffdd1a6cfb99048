"""One peer in a process of its own, run by its own environment's Python: for every line of input one of output.

    python -m benchmarks.peers.worker PEER                       a line is a spec (spec.py); the answer, λ̂ and times
    python -m benchmarks.peers.worker PEER WORKLOAD [compiled]   for any line, a rate (throughput.py)
    python -m benchmarks.peers.worker PEER features [PROBE ...]  for any line, what the library does (features.py)

PEER is a module beside this one. Every peer is driven through its public API.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from benchmarks.peers.features import findings
from benchmarks.peers.spec import Problem, Spec
from benchmarks.workloads import WORKLOADS


def estimate(peer: Any, line: str) -> dict[str, Any]:
    """λ̂, its standard deviation over chains (ddof 1), and seconds: sampling only, and all of the call.

    Seconds are those of the processor, which do not depend on what else the machine is doing.
    """
    asked = json.loads(line)
    spec = Spec(**asked["spec"])
    torch.set_num_threads(spec.threads)
    started = time.process_time()
    found = peer.estimate(Problem.of(spec, asked["arrays"]))
    ended = time.process_time()
    np.save(asked["trace"], found.losses)
    return {
        "llc": float(np.mean(found.chains)),
        "std": float(np.std(found.chains, ddof=1)) if len(found.chains) > 1 else None,
        "chains": [float(value) for value in found.chains],
        "init_loss": found.init_loss,
        "sampling_seconds": ended - found.sampling_started,
        "seconds": ended - started,
        "version": f"{peer.PACKAGE} {version(peer.PACKAGE)}",
    }


def rate(peer: Any, name: str, compiled: bool) -> dict[str, Any]:
    started = time.perf_counter()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    found = peer.rate(WORKLOADS[name], compiled)
    return {"rate": found, "seconds": time.perf_counter() - started}


def features(peer: Any, probes: Sequence[str]) -> dict[str, Any]:
    torch.set_num_threads(1)
    started = time.process_time()
    found = {name: asdict(finding) for name, finding in findings(peer, probes).items()}
    seconds = time.process_time() - started
    return {"version": f"{peer.PACKAGE} {version(peer.PACKAGE)}", "findings": found, "seconds": seconds}


def main() -> None:
    name, *workload = sys.argv[1:]
    peer = importlib.import_module(f"benchmarks.peers.{name}")
    answers, sys.stdout = sys.stdout, sys.stderr  # what a peer prints is no answer
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for line in sys.stdin:
        if workload[:1] == ["features"]:
            answer = features(peer, workload[1:])
        elif workload:
            answer = rate(peer, workload[0], workload[1:] == ["compiled"])
        else:
            try:
                answer = estimate(peer, line)
            except Exception as error:  # theirs, of any kind: the answer of a peer that failed is why
                answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
