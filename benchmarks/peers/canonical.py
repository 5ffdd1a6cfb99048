"""canonical-interp 0.1.5: all chains under vmap."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.spec import Found, Problem
from benchmarks.workloads import GAMMA, N_BETA, STEP_SIZE, Workload, next_token_loss, rate_of

PACKAGE = "canonical-interp"


def estimator_class() -> Any:
    itertools.batched = getattr(itertools, "batched", None)  # imported by name from Python 3.12, used by no run here
    from canonical_interp import LLCEstimator

    return LLCEstimator


def estimate(problem: Problem) -> Found:
    spec, calls = problem.spec, []
    loader = problem.loader()
    before = len(loader)  # minibatches of the loss at w*, which it takes over all samples

    def unpack(batch: list[Tensor]) -> tuple[Tensor, Tensor]:
        calls.append(time.process_time())
        return batch[0], batch[1]

    estimator = estimator_class()(
        draws=spec.draws, chains=spec.chains, burnin_steps=spec.burn_in, steps_bw_draws=spec.steps_between_draws,
        learning_rate=spec.step_size, localization=spec.gamma, nbeta=spec.n_beta,
    )  # fmt: skip
    estimator.estimate_llc(
        problem.model, loader, lambda output, target: problem.losses(output, target).mean(), seed=spec.seed,
        compile=spec.compiled, unpack_fn=unpack, show_progress=False,
    )  # fmt: skip
    losses, init = estimator.array_log_l.double(), estimator.original_loss.double()
    chains = spec.n_beta * (losses.mean(1) - init)
    return Found(losses.numpy(), chains.tolist(), float(init.mean()), calls[before])


def rate(workload: Workload, compiled: bool) -> float:
    """Chain-steps per second. The clock is read where it unpacks a minibatch, once per step."""
    model, inputs, targets = workload.build()
    data = torch.utils.data.TensorDataset(inputs, targets)
    loader = torch.utils.data.DataLoader(data, batch_size=workload.batch, shuffle=True, drop_last=True)
    ticks: list[float] = []

    def unpack(batch: list[Tensor]) -> tuple[Tensor, Tensor]:
        ticks.append(time.perf_counter())
        return batch[0], batch[1]

    def criterion(logits: Tensor, target: Tensor) -> Tensor:
        if workload.inputs:
            return nn.functional.cross_entropy(logits, target)
        return next_token_loss(logits, target).mean()

    estimator = estimator_class()(
        draws=workload.steps, chains=workload.chains, burnin_steps=0, steps_bw_draws=1, learning_rate=STEP_SIZE,
        localization=GAMMA, nbeta=N_BETA,
    )  # fmt: skip
    estimator.estimate_llc(model, loader, criterion, seed=0, compile=compiled, unpack_fn=unpack, show_progress=False)
    return rate_of(ticks[-workload.steps :], workload.chains)
