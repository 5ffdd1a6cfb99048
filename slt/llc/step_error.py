"""What a step without rejection does to λ̂: measured, taken out, and what may be left of it."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from samplers.batches import Batches
from samplers.coupling import Start, coarser, shadow
from samplers.curvature import gradient_of_potential, largest_curvature
from samplers.kernel import Kernel
from samplers.noise import ChainNoise
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.sgnht import SGNHT
from samplers.trace import Trace
from samplers.tuning import curvature_radius
from slt.diagnostics import MeanSummary, summarize_mean
from slt.llc.draws import llc_draws, sound_chains

LEAST_DRAWS = 100  # fewer say nothing of a bias
LARGE_MODEL = (
    1_000_000  # weights from which two chains are compared, for the sake of memory, else a quarter or half of them
)
TRANSIENT = 0.2  # share of the draws in which the chains at twice the step are still leaving those of the run
CURVATURE_CHAINS, CURVATURE_BATCHES = 4, 4


@dataclass(frozen=True)
class StepError:
    """The bias of the step size in λ̂, of which `shift` was subtracted with standard error `std_error`.

    `residual` is what a bias that is not quite proportional to ε may have left. `lost` chains at twice the step turned
    non-finite. `stiffness` is ε times the largest preconditioned curvature of U where the chains ended: a Langevin
    step is stable below 4, and too wide in that direction by a quarter of it. NaN where it was not measured.
    """

    shift: float
    std_error: float
    residual: float
    lost: int
    stiffness: float
    gradients: int

    def relative_to(self, llc: float) -> float:
        """|shift| / |λ̂ before the subtraction|."""
        raw = abs(llc + self.shift)
        return abs(self.shift) / raw if raw > 0 else math.inf if self.shift else 0.0


def compared_chains(kernel: Kernel, chains: int, dimension: int, composed: bool) -> int:
    """How many chains are gone over again at twice the step; 0 where there is nothing to compare."""
    if kernel.full_data or coarser(kernel) is None:
        return 0
    if composed:  # its parts may hold a row for every chain
        return chains
    momentum = isinstance(kernel, (SGHMC, SGNHT))  # the coupling of whose chains is looser
    return max(1, min(chains // (2 if momentum else 4), 2 if dimension >= LARGE_MODEL else chains))


def measure_step_error(run: Run, start: Start, trace: Trace, thin: int, n_beta: float, seed: int) -> StepError:
    """Δ = λ̂(2ε) - λ̂(ε), coupled, over the draws of a trace that began at `start`.

    A bias proportional to ε is Δ itself, and λ̂(ε) - Δ is free of it (Richardson). On a quadratic, where a mode's bias
    is x/(1 - x), that leaves 2Δ²/λ̂ to second order: `residual`. SGHMC on all the data has a bias of second order only:
    then a third of Δ is subtracted, and as much may be left.
    """
    again, which = shadow(run, start, trace.loss.shape[1], thin)
    chains = np.intersect1d(sound_chains(trace), sound_chains(again))
    keep = which >= trace.warmup + TRANSIENT * trace.draws
    difference = llc_draws(again, n_beta)[chains][:, keep]
    difference = difference - llc_draws(trace, n_beta)[chains][:, which[keep]]
    stiffness, spent = _stiffness(run, seed)
    spent += round(trace.loss.shape[1] * thin / 2 * start.chains / trace.chains)
    lost = start.chains - len(sound_chains(again))
    if difference.shape[0] == 0 or difference.shape[1] < 4:
        return StepError(0.0, math.inf, 0.0, lost, stiffness, spent)
    full = run.batches.batch_size is None
    found = summarize_mean(difference, shared_noise=not full)
    raw = float(np.mean(llc_draws(trace, n_beta)[sound_chains(trace), trace.warmup :]))
    residual = 2 * found.mean * found.mean / abs(raw) if raw else 0.0
    shift, error = found.mean, found.std_error
    if full and isinstance(run.kernel, SGHMC):
        shift, error, residual = shift / 3, error / 3, residual + abs(shift) / 3
    return StepError(shift, error, residual, lost, stiffness, spent)


def corrected(summary: MeanSummary, found: StepError) -> MeanSummary:
    """λ̂ without the bias of the step, its error that of Monte Carlo, of the bias and of what is left of it."""
    error = math.hypot(summary.std_error, found.std_error, found.residual)
    return replace(summary, mean=summary.mean - found.shift, std_error=error)


def corrected_twice(heat: MeanSummary, found: StepError, llc: float) -> MeanSummary:
    """The heat capacity without the bias of the step, λ̂ being `llc` without it.

    On a quadratic a mode whose λ̂ is too large by the factor 1/(1 - x) has a heat capacity too large by its square. The
    modes differ in x and in their shares of the two, so that as much as is taken off counts as an error of it.
    """
    share = llc / (llc + found.shift) if llc + found.shift else 1.0
    factor = float(np.clip(share, 0.0, 2.0)) ** 2
    error = math.hypot(factor * heat.std_error, (1 - factor) * heat.mean)
    return replace(heat, mean=factor * heat.mean, std_error=error)


def _stiffness(run: Run, seed: int) -> tuple[float, int]:
    """ε s, s the largest preconditioned curvature at some of the chains, and the gradients per chain it took."""
    kernel: Any = run.kernel
    step = kernel.step_size
    alive = torch.from_numpy(run.alive).nonzero()[:CURVATURE_CHAINS, 0]
    if not len(alive) or isinstance(step, torch.Tensor) or not hasattr(kernel, "preconditioner"):
        return math.nan, 0
    batches = Batches(run.batches.n, run.batches.batch_size, seed + 1)
    pieces = [piece for piece in (batches.next() for _ in range(CURVATURE_BATCHES)) if piece is not None]
    index = torch.cat(pieces).unique() if pieces else None
    moments = getattr(run.state, "moments", None)
    rows = [part[alive] if isinstance(part, torch.Tensor) and part.ndim else part for part in moments or ()]
    metric = kernel.preconditioner.at(type(moments)(*rows) if moments is not None else None)
    w = run.position[alive]
    gradient = gradient_of_potential(run.posterior, index)
    noise = ChainNoise(seed + 1, len(alive), w.device)
    found = largest_curvature(gradient, w, noise, curvature_radius(run.posterior), metric)
    share = 1.0 if index is None else len(index) / (run.batches.batch_size or run.batches.n)
    return float(step * found.max()), round(24 * share * len(alive) / len(run.position))
