"""Peak memory of a run on a model of 10 million weights, against (3·chains + 4) × parameter bytes + activations.

Each number of chains runs in a process of its own, which imports everything, builds the model and its data, and then
samples; what is counted is the growth of the process's peak resident memory from before the toolkit's copy of the model
to the end of the run, on the CPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch

import slt
from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from benchmarks.peers.models import mlp
from samplers.engine import ModuleLoss
from samplers.sgld import SGLD
from slt.losses import cross_entropy
from slt.task import DataSource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Peak memory of a run",
    claim="SGLD holds at most three copies of the weights per chain and four more, beside the model and the "
    "activations.",
    source="docs/samplers.md",
    target="At most (3·chains + 4) × parameter bytes + activations of one piece, on 9.8 million weights (Linux).",
    criterion="Reproduced if it holds for every number of chains; partly if for some.",
    duration="4 minutes",
)
WIDTH, INPUTS, SAMPLES, BATCH, STEPS = 2200, 32, 256, 16, 4  # 32-2200-2200-2200-10: 9.8 million weights
QUICK_WIDTH = 300
CHAINS = (1, 2, 4, 8, 16)


def resident(peak: bool) -> int:
    """Bytes of resident memory, now or at most since `forget_peak`."""
    name = "VmHWM" if peak else "VmRSS"
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def forget_peak() -> None:
    """Let the peak start from here (Linux: proc(5), clear_refs)."""
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def measure(chains: int, width: int) -> dict[str, Any]:
    """Peak growth of one run, in bytes and in units of the parameters' size."""
    model = mlp([INPUTS, width, width, width, 10])
    data = torch.randn(SAMPLES, INPUTS), torch.randint(0, 10, (SAMPLES,))
    warm = mlp([INPUTS, 8, 10])
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


def in_its_own_process(chains: int, width: int) -> dict[str, Any]:
    # Freed memory goes back to the system at once, so that resident memory is what is held.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.memory", str(chains), str(width)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chains", type=at_least(1), nargs="+", default=CHAINS)


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    width, chains = (QUICK_WIDTH, (2,)) if quick else (WIDTH, options.chains)
    return {"peaks": [kept(f"{c} chains", in_its_own_process, c, width) for c in chains]}


def judge(measured: dict[str, Any]) -> Verdict:
    checks = [
        (f"{row['chains']} chains: {row['copies']:.1f} copies (at most {row['bound_copies']})", row["within"])
        for row in measured["peaks"]
    ]
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = [
        (
            str(row["chains"]), f"{row['dimension']:,}", f"{row['copies']:.1f}", str(row["bound_copies"]),
            f"{row['activation_bytes'] / 2**20:.1f} MiB",
        )
        for row in measured["peaks"]
    ]  # fmt: skip
    header = ("chains", "weights", "peak, copies of the weights", "bound", "activations")
    return [Table(header, rows)]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new()
    chains = [row["chains"] for row in measured["peaks"]]
    axis.plot(chains, [row["bound_copies"] for row in measured["peaks"]], "-", color="gray", label="3·chains + 4")
    axis.plot(chains, [row["copies"] for row in measured["peaks"]], "o", label="measured")
    axis.set(xlabel="chains", ylabel="peak memory, copies of the weights")
    axis.legend()
    return figure


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
