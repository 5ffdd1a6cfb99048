"""Peak memory of a run on a model of 10 million weights, against (3·chains + 4) × parameter bytes + activations.

    python -m benchmarks.memory          # a minute; writes benchmarks/results/memory.json

Each number of chains runs in a process of its own, which imports everything, builds the model and its data, and then
samples; what is counted is the growth of the process's peak resident memory from before the toolkit's copy of the model
to the end of the run, on the CPU.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import slt
from benchmarks.workloads import mlp
from samplers.engine import ModuleLoss
from samplers.sgld import SGLD
from slt.losses import cross_entropy
from slt.task import DataSource

RESULTS = Path(__file__).parent / "results" / "memory.json"
WIDTH, INPUTS, SAMPLES, BATCH, STEPS = 2200, 32, 256, 16, 4  # 32-2200-2200-2200-10: 9.8 million weights


def resident(peak: bool) -> int:
    """Bytes of resident memory, now or at most since `forget_peak`."""
    name = "VmHWM" if peak else "VmRSS"
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def forget_peak() -> None:
    """Let the peak start from here (Linux: proc(5), clear_refs)."""
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def measure(chains: int) -> dict[str, Any]:
    """Peak growth of one run, in bytes and in units of the parameters' size."""
    model = mlp(INPUTS, WIDTH, WIDTH, WIDTH, 10)
    data = torch.randn(SAMPLES, INPUTS), torch.randint(0, 10, (SAMPLES,))
    warm = mlp(INPUTS, 8, 10)
    knobs = {
        "sampler": SGLD(1e-8),
        "batch_size": BATCH,
        "draws": STEPS,
        "warmup": 0,
        "gamma": 1e4,
        "progress": False,
        "extrapolate": False,
    }
    slt.estimate_llc(warm, data, **knobs)  # libraries and thread pools are loaded by now
    activations = ModuleLoss(model, cross_entropy, DataSource(data)).activation_bytes * BATCH
    gc.collect()
    forget_peak()
    start = resident(peak=False)
    estimate = slt.estimate_llc(model, data, chains=chains, **knobs)
    growth = resident(peak=True) - start
    size = 4 * estimate.dimension
    together = chains if estimate.evaluation == "vmap" else 1
    return {
        "chains": chains,
        "dimension": estimate.dimension,
        "evaluation": estimate.evaluation,
        "growth": growth,
        "copies": growth / size,
        "bound_copies": 3 * chains + 4,
        "activation_bytes": activations * together,
        "within": growth <= (3 * chains + 4) * size + activations * together,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--json", action="store_true", help="print one JSON object per number of chains")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    measured = []
    for chains in options.chains:
        # Freed memory goes back to the system at once, so that resident memory is what is held.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.memory", "--one", str(chains)]
        line = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        found = json.loads(line)
        measured.append(found)
        text = "{chains} chains of {dimension:,} weights, {evaluation}: peak {copies:.1f} copies, bound {bound_copies}"
        print(line.strip() if options.json else text.format(**found))
    RESULTS.write_text(json.dumps({"torch": torch.__version__, "peaks": measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
