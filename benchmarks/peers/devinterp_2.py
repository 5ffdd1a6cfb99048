"""devinterp 2.0.1: chains one after the other. It samples language models; other models go in as one.

The token is the number of the sample. Its λ̂ averages over burn-in as well.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.spec import Found, Problem
from benchmarks.workloads import GAMMA, N_BETA, STEP_SIZE, Workload, next_token_loss, rate_of

PACKAGE = "devinterp"


def numbered(count: int) -> list[dict[str, Tensor]]:
    """A data set whose texts are the numbers of the samples, twice: the last token is predicted."""
    numbers = torch.arange(count)
    return [{"input_ids": row} for row in torch.stack([numbers, numbers], 1)]


def estimate(problem: Problem) -> Found:
    from devinterp.slt.llc import compute_llc
    from devinterp.slt.sampling import sample

    spec, started = problem.spec, []

    def loss(module: nn.Module, ids: Tensor) -> Tensor:
        if torch.is_grad_enabled() and not started:
            started.append(time.process_time())
        index = ids[:, 0]
        return problem.losses(module(problem.inputs[index]), problem.targets[index])[:, None]

    methods = {"sgld": "sgmcmc_sgld", "rmsprop-sgld": "rmsprop_sgld"}
    with tempfile.TemporaryDirectory() as folder:
        samples = sample(
            problem.model, numbered(len(problem.inputs)), {}, lr=spec.step_size, n_beta=spec.n_beta,
            localization=spec.gamma, num_chains=spec.chains, num_draws=spec.draws, num_burnin_steps=spec.burn_in,
            num_steps_bw_draws=spec.steps_between_draws, batch_size=problem.batch_size, init_seed=spec.seed,
            sampling_method=methods[spec.sampler], sampling_method_kwargs=spec.options or None, device="cpu",
            shuffle=spec.batch_size is not None, output_path=Path(folder) / "samples.zarr", loss_fn=loss,
        )  # fmt: skip
        found = compute_llc(samples).load()
    return Found(
        found.loss_trace.values.astype(float),
        [float(value) for value in found.llc_per_chain.values],
        float(found.init_loss),
        started[0],
    )


def rate(workload: Workload, compiled: bool) -> float:
    """Chain-steps per second. The clock is read in the loss, which is called once per step."""
    from devinterp.slt.sampling import sample

    model, inputs, targets = workload.build()
    ticks: list[float] = []

    def loss(module: nn.Module, ids: Tensor) -> Tensor:
        ticks.append(time.perf_counter())
        if not workload.inputs:
            return next_token_loss(module(ids), ids)
        index = ids[:, 0]
        return nn.functional.cross_entropy(module(inputs[index]), targets[index], reduction="none")[:, None]

    dataset = numbered(len(inputs)) if workload.inputs else [{"input_ids": row} for row in inputs]
    chains = 2
    with tempfile.TemporaryDirectory() as folder:
        sample(
            model, dataset, {}, lr=STEP_SIZE, n_beta=N_BETA, localization=GAMMA, num_chains=chains,
            num_draws=workload.steps, batch_size=workload.batch, num_init_loss_batches=1, device="cpu",
            output_path=Path(folder) / "samples.zarr", loss_fn=loss,
        )  # fmt: skip
    return rate_of(ticks[chains : chains + workload.steps], 1)
