"""The moves of one stage of annealing or splitting, in what numbers and in what order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samplers.analytic import Density, LocalPotential
from samplers.group_noise import Draws
from samplers.moves import Particles, hamiltonian, refresh, rescale
from samplers.newton_moves import Curvature, newton, newton_block

NEWTON_ENOUGH = 1.6  # accepted of two Newton moves: the density is nearly Gaussian, and they have forgotten the past
BLOCKS_FROM = 4  # coordinates: of fewer there is no block of two that leaves as many


class Counts(NamedTuple):
    """Moves of each kind in each half of a stage, and of blocks between the halves."""

    rescale: int
    hamiltonian: int
    newton: int
    block: int


# Blocks divide the variance of E[tK] by 2 to 10 on networks of 6 to 12 parameters, and leave the others little to do.
WITHOUT_BLOCKS, WITH_BLOCKS = Counts(10, 3, 4, 0), Counts(5, 1, 2, 8)


def equilibrate(
    potential: LocalPotential, density: Density, particles: Particles, draws: Draws
) -> tuple[Particles, dict[str, float], Curvature | None]:
    """Particles moved, acceptance by kind of move, and the curvature at the particles where it is known."""
    rates: dict[str, list[float]] = {"rescale": [], "hamiltonian": [], "newton": [], "block": []}
    with_blocks = potential.smooth and potential.dimension >= BLOCKS_FROM
    count = WITH_BLOCKS if with_blocks else WITHOUT_BLOCKS
    curvature = None
    for spherical in (True, False):
        gaussian = len(rates["newton"]) == 2 and sum(rates["newton"]) >= NEWTON_ENOUGH
        for _ in range(0 if spherical or gaussian else count.block):
            block = draws.neighbours(potential.dimension)
            particles, rate = newton_block(potential, density, particles, draws, block)
            rates["block"].append(rate)
        for _ in range(count.rescale):
            particles, rate = rescale(potential, density, particles, draws)
            rates["rescale"].append(rate)
        particles = refresh(potential, particles)
        spread = particles.u.std(0)
        for _ in range(count.hamiltonian):
            scale = 1.0 if spherical else spread / spread.mean()
            particles, rate = hamiltonian(potential, density, particles, draws, scale)
            rates["hamiltonian"].append(rate)
        if potential.smooth:
            moves = 0 if gaussian else count.newton
            particles, curvature, accepted = newton(potential, density, particles, draws, moves, NEWTON_ENOUGH)
            rates["newton"] += accepted
    return particles, {kind: float(np.mean(r)) for kind, r in rates.items() if r}, curvature
