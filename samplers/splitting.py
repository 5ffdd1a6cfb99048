"""Multilevel splitting: the volume of {K < ε} under the localizing Gaussian, level by level.

Particles are draws of N(center, I/γ) restricted to {K < ε}. The next level is the lower quartile of their K; the share
of each group below it is the ratio of two volumes; survivors are duplicated and moved (Kahn & Harris 1951; Au & Beck
2001). Nothing is reweighted and no energy is averaged: it shares its moves with annealing, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

import numpy as np
import torch

from samplers.analytic import Below, LocalPotential
from samplers.annealing import ROUNDING, resample
from samplers.equilibration import equilibrate
from samplers.errors import InputError
from samplers.group_noise import Draws
from samplers.moves import Particles

MIN_LOG_EPSILON = -650.0
SHARE = 0.25  # of the particles below the next level


@dataclass(frozen=True)
class Level:
    """One level: log ε and log P(K < ε) under the localizer for each group (G,).

    `rounding` is the error of K by the last digits of w and of K, in units of ε, `acceptance` the share of accepted
    moves by kind.
    """

    log_epsilon: float
    log_volume: np.ndarray
    rounding: float
    acceptance: dict[str, float]

    @property
    def resolved(self) -> bool:
        """Whether the level is still told apart from rounding."""
        return self.rounding < ROUNDING and self.log_epsilon > MIN_LOG_EPSILON


class Splitting:
    """Particles in `groups` groups of `size`, moved from one level set to a quarter of it.

    All groups share the levels, and nothing else: their scatter is the error. The draws of a group depend on `seed` and
    on its index alone.
    """

    def __init__(self, potential: LocalPotential, *, groups: int, size: int, seed: int, first_group: int = 0):
        if groups < 2 or size < 8:
            raise InputError(f"splitting needs at least 2 groups of 8 particles, got {groups} of {size}")
        self.potential, self.groups, self.size = potential, groups, size
        self._draws = Draws(seed, range(first_group, first_group + groups), size)
        u = potential.draw(self._draws)
        self.particles = Particles(u, potential.value(u), torch.zeros_like(u))
        self._log_volume = np.zeros(groups)

    def advance(self) -> Level | None:
        """Go down to the quartile of K; None where K vanishes on so many particles that there is no lower level."""
        value = self.particles.value.reshape(self.groups, -1)
        ceiling = float(value.quantile(SHARE))
        below = (value < ceiling).double()
        share = below.mean(1)
        if not 0 < ceiling < inf or not bool((share > 0).all()):
            return None
        self._log_volume = self._log_volume + share.log().numpy()
        index = resample(below / below.sum(1, keepdim=True), self._draws)
        particles = self.particles.chosen(index)
        # In {K < ε} with Vol ~ ε^λ the mean of K is ε λ/(λ+1); this t makes exp(-tK) as wide as the level set.
        density = Below(ceiling, 1 / (ceiling - float(particles.value.mean())), self.potential.gamma)
        self.particles, acceptance, _ = equilibrate(self.potential, density, particles, self._draws)
        rounding, _ = self.potential.scaled_rounding(self.particles.u, self._draws, 1 / ceiling)
        return Level(
            log(ceiling),
            self._log_volume.copy(),
            rounding,
            acceptance,
        )
