"""Runs of one kernel at one step size on the deep linear network: error, bias, cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.deep_linear_loss import CHAINS, DeepLinear, N, ReplicateBatches, posterior_of
from samplers.adaptive_preconditioner import RMSprop
from samplers.gradient import ControlVariate
from samplers.hmc import HMC
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.noise_compensation import NoiseCompensation
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT
from samplers.step_bias import step_bias

BATCH, REPLICATES = 256, 8
N_BETA = N / math.log(N)
TOLERANCE = 0.03
LENGTH = 0.05  # steps of a run, times ε: two and a half relaxation times 2/(εγ) of flat directions
RADIUS = 0.05  # over which curvature is measured


@dataclass
class Row:
    """One line of the table; errors are relative to the reference."""

    kernel: str
    step_size: float
    steps: int
    llc: float
    bias: float
    law: float | None
    error_of_bias: float
    predicted: float | None
    mc_error: float
    cost: float | None
    seconds: float


@dataclass(frozen=True)
class Setting:
    """A kernel as a function of its step size, and the rows of a minibatch that one step evaluates gradients of."""

    name: str
    kernel: Callable[[float], Any]
    step_sizes: tuple[float, ...]
    rows: int = CHAINS


def settings(diagonal: Diagonal, low_rank: LowRank) -> list[Setting]:
    cv, compensation = ControlVariate, NoiseCompensation()
    few, more = (1e-5, 3e-5, 1e-4), CHAINS + 1
    return [
        Setting("SGLD", SGLD, (3e-7, 6e-7, 1e-6, 3e-6, 1e-5)),
        Setting("SGLD + compensation", lambda e: SGLD(e, compensation=compensation), (1e-6, 3e-6, 1e-5)),
        Setting("SGLD + control variates", lambda e: SGLD(e, gradient=cv()), (3e-6, *few), more),
        Setting("SGLD + both", lambda e: SGLD(e, gradient=cv(), compensation=compensation), few, more),
        Setting("RMSprop-SGLD + both", lambda e: SGLD(e, RMSprop(), cv(), compensation=compensation), few, more),
        Setting("SGHMC c=0 + control variates", lambda e: SGHMC(e, 0.0, gradient=cv()), few, more),
        Setting("SGHMC c=0 + both", lambda e: SGHMC(e, 0.0, gradient=cv(), compensation=compensation), few, more),
        Setting("SGHMC c=0.5 + both", lambda e: SGHMC(e, 0.5, gradient=cv(), compensation=compensation), few, more),
        Setting(
            "SGHMC c=0, diagonal + both",
            lambda e: SGHMC(e, 0.0, diagonal, cv(), compensation=compensation),
            few,
            more,
        ),
        Setting(
            "SGHMC c=0, low rank + both",
            lambda e: SGHMC(e, 0.0, low_rank, cv(), compensation=compensation),
            few,
            more,
        ),
        Setting("SGNHT c=0.3 + control variates", lambda e: SGNHT(e, 0.3, gradient=cv()), few, more),
    ]


def hmc_reference(
    loss: DeepLinear, gamma: float, step_size: float, draws: int, leapfrog: int, anneal: int
) -> tuple[Tensor, Run]:
    """Draws of nβ (L - L*) by full-data HMC, (draws, chains), after annealing from the localizing Gaussian."""
    posterior, noise = posterior_of(loss, gamma, 2 * REPLICATES), ChainNoise(11, 2 * REPLICATES * CHAINS)
    kernel = HMC(step_size, leapfrog, caution=0.2)
    start, batches = posterior.draw_localizer(len(noise), noise), ReplicateBatches(None, 1, 0)
    run = Run(posterior.tempered(0.0), kernel, start, noise=noise, batches=batches)
    for step in range(anneal + anneal // 2):
        share = min(1.0, (step + 1) / anneal) ** 4
        run.use(kernel, posterior.tempered(share / math.log(N)))
        run.step()
    found = []
    for _ in range(draws):
        info = run.step()
        found.append(N_BETA * (info.loss - info.center_loss))
    return torch.stack(found), run


def cost_to_tolerance(steps: Tensor, reference: float, per_step: int) -> float | None:
    """Sample gradients at which the root mean square error over the replicates falls below 3%, and stays there.

    `steps` (T, replicates) are the paired differences, averaged over the 8 chains of each replicate.
    """
    total = steps.cumsum(0)
    length, reached = len(steps), None
    while length >= 16:
        means = (total[length - 1] - total[length // 2 - 1]) / (length - length // 2)
        if float((means / reference - 1).square().mean().sqrt()) > TOLERANCE:
            break
        reached, length = length, int(length / 1.15)
    return None if reached is None else reached * per_step


def run_setting(
    posterior: LocalPosterior, setting: Setting, epsilon: float, reference: float, most_steps: int | None
) -> Row:
    started, kernel = time.monotonic(), setting.kernel(epsilon)
    momentum = getattr(kernel, "momentum", 0.0)
    steps = max(3000, round(LENGTH / epsilon * (1 - momentum) / (1 + momentum)))
    noise, batches = ChainNoise(5, REPLICATES * CHAINS), ReplicateBatches(BATCH, REPLICATES, 5)
    run = Run(posterior, kernel, posterior.draw_localizer(len(noise), noise), noise=noise, batches=batches)
    center = posterior.loss.value(posterior.centers[:1])
    paired, whole = [], []
    steps = min(steps, most_steps or steps)
    for step in range(steps):
        if step >= steps // 2 and step % 10 == 0:
            whole.append(N_BETA * (posterior.loss.value(run.position) - center).mean())
        info = run.step()
        paired.append(N_BETA * (info.loss - info.center_loss).reshape(REPLICATES, CHAINS).mean(1))
    series = torch.stack(paired)
    means = series[steps // 2 :].mean(0) / reference - 1
    return Row(
        kernel=setting.name,
        step_size=epsilon,
        steps=steps,
        llc=reference * (1 + float(means.mean())),
        bias=float(means.mean()),
        law=float(torch.stack(whole).mean()) / reference - 1,
        error_of_bias=float(means.std()) / REPLICATES**0.5,
        predicted=predicted_bias(posterior, kernel, run, batches, reference),
        mc_error=float(means.std()),
        cost=cost_to_tolerance(series, reference, BATCH * setting.rows),
        seconds=time.monotonic() - started,
    )


def predicted_bias(
    posterior: LocalPosterior, kernel: Any, run: Run, batches: ReplicateBatches, reference: float
) -> float | None:
    if isinstance(kernel, SGNHT):  # its thermostat takes out most of what could be predicted
        return None
    if isinstance(kernel.preconditioner, RMSprop):
        kernel = replace(kernel, preconditioner=kernel.preconditioner.at(run.state.moments))
    found = step_bias(
        posterior, kernel, run.position, ChainNoise(6, len(run.position)), [batches.next() for _ in range(20)], RADIUS
    )
    return float((found.discretization + found.minibatches).mean()) / reference


def hmc_row(draws: Tensor, reference: float, started: float) -> Row:
    """The reference itself, as 16 runs of 8 chains: what exactness on all the data costs."""
    leapfrog, series = 16, draws.reshape(len(draws), -1, CHAINS).mean(2)
    means = series[len(series) // 2 :].mean(0) / reference - 1
    cost = cost_to_tolerance(series, reference, N * CHAINS * leapfrog)
    spread = float(means.std())
    return Row(
        "HMC, 16 leapfrog steps, all data", 2e-5, len(draws), reference, 0.0, 0.0, spread / series.shape[1] ** 0.5,
        0.0, spread, cost, time.monotonic() - started,
    )  # fmt: skip
