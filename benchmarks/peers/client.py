"""Peers asked from here: λ̂ of a model at w* by another library, in its own environment (`make peers`).

with Peer("devinterp-1") as peer:
    answer = peer.estimate(spec, model.state_dict(), inputs, targets)
answer.llc, answer.std, answer.seconds
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.peers.spec import Spec

ROOT = Path(__file__).parents[2]
# Peer -> environment, worker module and package. devinterp 1.3.2 takes any model, 2.0.1 language models only; they
# exclude each other.
PEERS = {
    "devinterp-1": (".venv-devinterp-1", "devinterp_1", "devinterp"),
    "devinterp-2": (".venv-peers", "devinterp_2", "devinterp"),
    "canonical": (".venv-peers", "canonical", "canonical-interp"),
    "pyro": (".venv-peers", "pyro_nuts", "pyro-ppl"),
}
OURS = "ours"  # this toolkit, asked as a peer is, in the environment that asks


def missing(peer: str) -> str | None:
    """Why a peer cannot be run, or None where it can."""
    environment, *_ = PEERS[peer]
    there = (ROOT / environment / ".installed").exists()  # the last thing that `make peers` writes
    return None if there else f"{peer} is not installed (no {environment}): `make peers`"


def start(peer: str, *arguments: str, threads: int = 1) -> subprocess.Popen[str]:
    """The worker of a peer, waiting for lines."""
    if peer == OURS:
        python, module = sys.executable, "toolkit"
    else:
        environment, module, _ = PEERS[peer]
        python = str(ROOT / environment / "bin" / "python")
    command = [python, "-m", "benchmarks.peers.worker", module, *arguments]
    settings = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    settings.pop("PYTHONPATH", None)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env=settings,
    )  # fmt: skip


class PeerError(RuntimeError):
    """A peer failed on a problem; the message is its own."""


@dataclass(frozen=True)
class Answer:
    """λ̂ as the peer reports it, with what is needed to look closer. Seconds are the processor's."""

    llc: float
    std: float  # over chains, ddof 1; nan for one chain
    chains: list[float]
    init_loss: float  # L(w*) as the peer took it
    sampling_seconds: float  # from the first step on
    seconds: float  # of the whole call: model, data, loss at w*, sampling
    version: str
    losses: np.ndarray  # (chain, draw): the minibatch losses that λ̂ averages

    def running(self, n_beta: float) -> np.ndarray:
        """λ̂ after 1, 2, ... draws of every chain, mean over chains: with sampling_seconds, error against time."""
        means = self.losses.mean(0).cumsum() / np.arange(1, self.losses.shape[1] + 1)
        return n_beta * (means - self.init_loss)

    def settled(self, n_beta: float, known: float, within: float) -> int:
        """Draws before those from which λ̂ stays within that relative error; as many as there are where it does not."""
        off = ~(np.abs(self.running(n_beta) / known - 1) <= within)  # NaN is off
        return int(np.flatnonzero(off)[-1]) + 1 if off.any() else 0


def features(peer: str, *probes: str) -> dict[str, Any]:
    """What a peer, or `OURS`, does: {version, findings, seconds}, of every probe of features.py or of those named."""
    with start(peer, "features", *probes) as process:
        answer, _ = process.communicate("\n")
    if not answer:
        raise PeerError(f"the process of {peer} ended: {process.returncode}")
    return json.loads(answer)


@contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float | None) -> Iterator[None]:
    """The process is ended if the block takes longer."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Peer:
    """A peer's process; imports are paid for once."""

    def __init__(self, name: str, threads: int = 1):
        reason = missing(name)
        if reason is not None:
            raise PeerError(reason)
        self.name = name
        self._process = start(name, threads=threads)
        self._folder = tempfile.TemporaryDirectory()

    def estimate(
        self, spec: Spec, weights: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, patience: float | None = None
    ) -> Answer:
        """Ask for one estimate. Raises PeerError with the peer's own message where it fails.

        After `patience` seconds the process is ended, and that is the message.
        """
        arrays, trace = Path(self._folder.name) / "arrays.npz", Path(self._folder.name) / "trace.npy"
        contents = {f"weights/{name}": value for name, value in weights.items()}
        contents |= {"inputs": inputs, "targets": targets}
        np.savez(arrays, **{name: value.detach().cpu().numpy() for name, value in contents.items()})  # type: ignore[arg-type]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(spec.to_json(str(arrays), str(trace)) + "\n")
        self._process.stdin.flush()
        with _killed_after(self._process, patience):
            line = self._process.stdout.readline()
        if not line and self._process.wait() == -signal.SIGKILL and patience is not None:
            raise PeerError(f"no answer within {patience:g} s")
        if not line:
            raise PeerError(f"the process of {self.name} ended: {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        answer["std"] = math.nan if answer["std"] is None else answer["std"]
        return Answer(**answer, losses=np.load(trace))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._folder.cleanup()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
