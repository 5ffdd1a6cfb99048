"""Times of this toolkit's steps in a process of its own: a measurement of so many steps as each line of input says."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import slt
from benchmarks.workloads import GAMMA, N_BETA, STEP_SIZE, WORKLOADS, Workload, next_token_loss, rate_of
from samplers.batches import Batches
from samplers.engine import ModuleLoss
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.run import Run
from samplers.sgld import SGLD
from slt.losses import cross_entropy
from slt.task import DataSource


def loss_of(workload: Workload) -> Callable:
    return cross_entropy if workload.inputs else lambda output, ids: next_token_loss(output, ids).mean(1)


def measure_slt(workload: Workload, evaluation: str) -> dict[str, Any]:
    """Chain-steps per second of `slt.estimate_llc`, by the clock at each step after the first few."""
    model, inputs, targets = workload.build()
    ticks: list[float] = []
    step = Run.step

    def timed(run: Run) -> Any:
        ticks.append(time.perf_counter())
        return step(run)

    Run.step = timed  # type: ignore[method-assign]
    try:
        estimate = slt.estimate_llc(
            model, (inputs, targets), loss_of(workload), sampler=SGLD(STEP_SIZE), chains=workload.chains,
            batch_size=workload.batch, draws=workload.steps, warmup=0, gamma=GAMMA, beta=N_BETA / workload.samples,
            evaluation=evaluation, extrapolate=False, progress=False,
        )  # fmt: skip
    finally:
        Run.step = step  # type: ignore[method-assign]
    return {"rate": rate_of(ticks, workload.chains), "seconds": estimate.seconds, "evaluation": estimate.evaluation}


def measure_overhead(
    model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor, loss: Callable, chains: int, batch: int,
    steps: int, evaluation: str = "auto", repeats: int = 5,
) -> dict[str, Any]:  # fmt: skip
    """Seconds of a whole step and of the bare forward and backward pass, medians of alternating stretches."""
    samples = len(inputs)
    function = ModuleLoss(model, loss, DataSource((inputs, targets)), evaluation=evaluation)
    posterior = LocalPosterior(function, function.center, n=samples, beta=N_BETA / samples, gamma=GAMMA)
    noise = ChainNoise(0, chains)
    batches = Batches(samples, batch, 0)
    run = Run(posterior, SGLD(STEP_SIZE), posterior.draw_localizer(chains, noise), noise=noise, batches=batches)
    if evaluation == "compile":
        function.settle(full_data=False)
    whole, bare = [], []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        run.advance(steps)
        whole.append((time.perf_counter() - started) / steps)
        started = time.perf_counter()
        for _ in range(steps):
            function.value_and_grad(run.position, batches.next())
        bare.append((time.perf_counter() - started) / steps)
    ratios = [a / b for a, b in zip(whole[1:], bare[1:], strict=True)]
    return {
        "seconds": statistics.median(whole[1:]),
        "bare_seconds": statistics.median(bare[1:]),
        "ratio": statistics.median(ratios),
        "evaluation": function.evaluation,
        "dimension": function.dimension,
    }


def main() -> None:
    party, name = sys.argv[1:]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    evaluation = "compile" if party.endswith("compiled") else "auto"
    for line in sys.stdin:
        workload = replace(WORKLOADS[name], steps=int(line))
        print(json.dumps(measure_slt(workload, evaluation)), flush=True)


if __name__ == "__main__":
    main()
