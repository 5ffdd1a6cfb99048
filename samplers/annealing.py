"""Annealed sequential Monte Carlo for an analytic potential, from its localizing Gaussian to any temperature.

Particles start as exact draws of N(center, I/γ), the density at t = 0, and follow ∝ exp(-tK - γ/2 |w - center|²) as t
grows by stages: reweight, resample, move (Neal 2001; Del Moral, Doucet & Jasra 2006). They come in groups that never
exchange particles, so that the scatter between groups is the error of everything, resampling included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, inf, log

import numpy as np
import torch
from torch import Tensor

from samplers.analytic import LocalPotential, Tempered
from samplers.equilibration import equilibrate
from samplers.errors import InputError
from samplers.group_noise import Draws
from samplers.moves import Particles
from samplers.newton_flow import Flow, newton_flow
from samplers.stein import controlled_mean, stein_columns

MAX_LOG_T = 650.0  # e^650 times the smallest positive float64 is still 1e-26
EFFECTIVE = 0.5  # share of the particles a stage keeps effective
FIRST_EFFECTIVE = 0.9
EFFECTIVE_CARRIED = 0.8  # the same where particles are carried along: their weights differ in slow variables only
MAX_LOG_STEP, MAX_CARRY, MIN_LOG_STEP = 10.0, 1.5, 0.01
ROUNDING = 0.03  # error of tK by the last digits of w and K, above which K is not resolved any more
CENTER = 3.0  # standard deviations by which K may be off everywhere, since L(w*), which it is measured from, is rounded


@dataclass(frozen=True)
class Stage:
    """One temperature: E[tK] and log Z(t) = log E_localizer[exp(-tK)] for each group, in nats.

    `mean` (G,) is E[tK] with control variates and `raw_mean` (G,) without; `fluctuation` is Var(tK) and `variance`
    what control leaves of it. `violation` is Stein's check (see `ControlledMean`), `rounding` the error of tK by the
    last digits of w and of K, `noise` what E[tK] may be shifted by because of K's, `acceptance` by kind of move,
    `ancestors` the number of initial particles of a group that still have descendants.
    """

    log_t: float
    mean: np.ndarray
    raw_mean: np.ndarray
    log_z: np.ndarray
    fluctuation: float
    variance: float
    violation: float
    rounding: float
    noise: float
    acceptance: dict[str, float]
    ancestors: float

    def joined(self, other: Stage) -> Stage:
        """The same temperature with the groups of an independent run besides."""
        if other.log_t != self.log_t:
            raise InputError(f"only stages of one temperature can be joined, got {self.log_t:g} and {other.log_t:g}")
        return replace(
            self,
            mean=np.concatenate([self.mean, other.mean]),
            raw_mean=np.concatenate([self.raw_mean, other.raw_mean]),
            log_z=np.concatenate([self.log_z, other.log_z]),
        )


class Annealing:
    """Particles in `groups` groups of `size`, advanced from one temperature to the next.

    The draws of a group depend on `seed` and on its index alone (`first_group` counts them), and the global random
    state is never touched.

    Raises InputError when every particle of a group has lost its weight.
    """

    def __init__(self, potential: LocalPotential, *, groups: int, size: int, seed: int, first_group: int = 0):
        if groups < 2 or size < 8:
            raise InputError(f"annealing needs at least 2 groups of 8 particles, got {groups} of {size}")
        self.potential, self.groups, self.size = potential, groups, size
        self._draws = Draws(seed, range(first_group, first_group + groups), size)
        u = potential.draw(self._draws)
        self.particles = Particles(u, potential.value(u), torch.zeros_like(u))
        self.log_t, self._log_z = -inf, np.zeros(groups)
        self._flow: Flow | None = None
        self._ancestor = torch.arange(size).expand(groups, -1)

    def advance(self, log_t: float | None = None, *, limit: float = MAX_LOG_T) -> Stage:
        """Go to temperature t = e^log_t, or as far towards e^limit as the weights allow, and measure there."""
        target = self._furthest(limit) if log_t is None else log_t
        if not self.log_t < target <= MAX_LOG_T:
            raise InputError(f"log t must grow, and to at most {MAX_LOG_T:g}: got {target:g} after {self.log_t:g}")
        self._reweight(target)
        density = Tempered(exp(target), self.potential.gamma)
        self.particles, acceptance, curvature = equilibrate(self.potential, density, self.particles, self._draws)
        self._flow = curvature and newton_flow(self.potential, density, self.particles, curvature)
        energy = density.t * self.particles.value
        columns = stein_columns(density, self.particles, self._flow)
        result = controlled_mean(energy, columns, self.groups)
        rounding, noise = self.potential.scaled_rounding(self.particles.u, self._draws, density.t)
        return Stage(
            target,
            result.mean,
            energy.reshape(self.groups, -1).mean(1).numpy(),
            self._log_z.copy(),
            result.raw_variance,
            result.variance,
            result.violation,
            rounding,
            CENTER * noise,
            acceptance,
            float(np.mean([len(row.unique()) for row in self._ancestor])),
        )

    def _furthest(self, limit: float) -> float:
        """How far the weights allow, by carrying the particles along or by leaving them where they are.

        Carried particles differ in weight by their slow variables only, and more of them are kept for that.
        """
        if self.log_t == -inf:
            return self._reach(-MAX_LOG_T, limit, FIRST_EFFECTIVE)
        carried = self.log_t
        if self._flow is not None:
            carried = self._reach(self.log_t, min(self.log_t + MAX_CARRY, limit), EFFECTIVE_CARRIED)
        flow, self._flow = self._flow, None
        left = self._reach(self.log_t, min(self.log_t + MAX_LOG_STEP, limit), EFFECTIVE)
        if carried >= left:
            self._flow = flow
        return max(carried, left, self.log_t + MIN_LOG_STEP)

    def _reach(self, low: float, high: float, share: float) -> float:
        """The log t in [low, high] down to which `share` of the particles stays effective, by bisection."""

        before = exp(self.log_t) * float(self.particles.value.mean()) if self._flow is not None else 0.0

        def effective(log_t: float) -> float:
            log_weights = self._carried(log_t)[1]
            if self._flow is not None:
                # Jensen: log Z(t')/Z(t) >= -(t'/t - 1) E[tK]. Particles that are all carried astray, by a potential
                # with kinks say, may have equal weights, but not that much.
                change = torch.logsumexp(log_weights, 1).mean() - log(self.size)
                if not float(change) > -exp(log_t - self.log_t) * before - 1:
                    return 0.0
            weights = torch.softmax(log_weights, 1)
            return float((1 / weights.square().sum(1)).mean()) / self.size

        if effective(high) >= share:
            return high
        for _ in range(40 if self._flow is None else 8):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if effective(middle) >= share else (low, middle)
        return low

    def _carried(self, log_t: float) -> tuple[Particles, Tensor]:
        """Particles carried to another temperature, and their log weights (G, n)."""
        old, new = exp(self.log_t), exp(log_t)
        if self._flow is None:
            particles = self.particles
            value = particles.value
            log_weights = torch.where(value.isfinite(), -(new - old) * value, -inf)
        else:
            u, log_det = self._flow.carry(log_t - self.log_t)
            particles = Particles(u, self.potential.value(u), self.particles.gradient)
            before = Tempered(old, self.potential.gamma).log_density(self.particles.u, self.particles.value)
            log_weights = Tempered(new, self.potential.gamma).log_density(u, particles.value) - before + log_det
            log_weights = torch.nan_to_num(log_weights, nan=-inf, neginf=-inf, posinf=-inf)
        return particles, log_weights.reshape(self.groups, -1)

    def _reweight(self, log_t: float) -> None:
        """Add the log of the mean weight to log Z, and resample systematically (Carpenter et al. 1999)."""
        particles, log_weights = self._carried(log_t)
        if not bool((log_weights.amax(1) > -inf).all()):
            raise InputError("the potential is not finite at any particle: check it, or use a larger gamma")
        self._log_z = self._log_z + (torch.logsumexp(log_weights, 1) - log(self.size)).numpy()
        index = resample(torch.softmax(log_weights, 1), self._draws)
        self._ancestor = self._ancestor.gather(1, index)
        self.particles = particles.chosen(index)
        self.log_t = log_t


def resample(weights: Tensor, draws: Draws) -> Tensor:
    """Systematic resampling by the normalized weights (G, n) of each group: indices (G, n) within the group."""
    size = weights.shape[1]
    offset = draws.group_uniform()[:, None]
    cumulative = weights.cumsum(1)
    positions = (torch.arange(size) + offset) / size * cumulative[:, -1:]
    return torch.searchsorted(cumulative, positions).clamp(max=size - 1)
