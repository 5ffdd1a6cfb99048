"""Moves in a metric read off the Hessian at each particle, of all coordinates at once or of some neighbours.

All at once can follow no curved set of zeros further than its curvature allows, and at large t that is next to nothing.
The parameters of a model often come in groups, a layer's weights say, in which K is quadratic or nearly so, and next to
each other: given the rest, the set of zeros is flat in such a group, which can then be drawn afresh in one move.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.analytic import Density, LocalPotential
from samplers.group_noise import Draws
from samplers.moves import Particles, choose, metropolis

FREE, FREE_IN_BLOCK = 0.2, 0.6  # share of the moves whose metric is not bounded below
HALF = 0.625  # of the rest: share bounded near the geometric mean of the widest and the narrowest scale


class Curvature(NamedTuple):
    """The Hessian H of K at each particle, with the spectral decomposition of tH + γ."""

    eigenvalues: Tensor  # (N, d)
    eigenvectors: Tensor  # (N, d, d), in columns
    hessian: Tensor  # (N, d, d)


def newton(
    potential: LocalPotential, density: Density, particles: Particles, draws: Draws, moves: int, enough: float = inf
) -> tuple[Particles, Curvature, list[float]]:
    """Moves in the local metric M = |tH + γ|, H the Hessian of K, its eigenvalues bounded below.

        u' = u - ε M⁻¹ ∇U + √(ε(2-ε)) M^-½ ξ,

    which draws afresh from any Gaussian (ε = 1). The lower bound on the eigenvalues, 2γ (λ_max/γ)^a with a random in
    [0, 0.62], is what lets it work along curved sets of zeros: at a = ½ the steps along the set are of order t^-¼,
    short enough for its curvature to cost nothing in the directions that are t^-½ wide. Half of the moves have an a
    near ½: there too is where two factors that cross change places, and no other move mixes them. (A position-dependent
    metric as in Girolami & Calderhead 2011, with the proposal's own density in the Metropolis ratio.)

    `enough` accepted moves end it early. Returns the particles, the curvature there and the acceptance of each move.
    """
    rates: list[float] = []
    everything = slice(0, potential.dimension)
    state = _state(potential, density, particles.u, everything)
    while len(rates) < moves and sum(rates) < enough:
        state, rate = _move(potential, density, state, draws, everything, FREE)
        rates.append(rate)
    curvature = Curvature(state.eigenvalues, state.eigenvectors, state.hessian)
    return Particles(state.u, state.value, state.gradient), curvature, rates


def newton_block(
    potential: LocalPotential, density: Density, particles: Particles, draws: Draws, block: slice
) -> tuple[Particles, float]:
    """The same move of the coordinates `block` alone, in the metric of their part of the Hessian.

    Most of these moves have no lower bound on the eigenvalues: in a flat set of zeros steps may be as long as it is
    wide. Returns the particles and the mean acceptance.
    """
    state = _state(potential, density, particles.u, block)
    state, rate = _move(potential, density, state, draws, block, FREE_IN_BLOCK)
    return Particles(state.u, state.value, state.gradient), rate


class _State(NamedTuple):
    u: Tensor
    value: Tensor
    gradient: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    slope: Tensor  # ∇U in the basis of the eigenvectors
    hessian: Tensor


def _state(potential: LocalPotential, density: Density, u: Tensor, block: slice) -> _State:
    value, gradient, hessian = potential.value_grad_hessian(u, block)
    metric = density.t * hessian + density.gamma * torch.eye(hessian.shape[-1], dtype=torch.float64)
    # An overflow marks a point that no move will be accepted at; eigh only has to survive it.
    metric = torch.nan_to_num(metric, nan=0.0, posinf=1e300, neginf=-1e300).clamp(-1e300, 1e300)
    eigenvalues, vectors = torch.linalg.eigh(metric)
    slope = apply(vectors.mT, (density.t * gradient + density.gamma * u)[:, block])
    return _State(u, value, gradient, eigenvalues, vectors, slope, hessian)


def _move(
    potential: LocalPotential, density: Density, state: _State, draws: Draws, block: slice, free: float
) -> tuple[_State, float]:
    u, value, _, eigenvalues, vectors, slope, _ = state
    epsilon = torch.where(draws.uniform(1) < 0.6, 1.0, 10 ** (-1.5 * draws.uniform(1)))
    exponent = _exponents(draws, free)
    metric = _bounded(eigenvalues, density.gamma, exponent)
    width = (epsilon * (2 - epsilon)).sqrt()
    xi = draws.normal(slope.shape[-1])
    step = -epsilon * slope / metric + width * xi / metric.sqrt()
    moved = u.clone()
    moved[:, block] += apply(vectors, step)
    proposed = _state(potential, density, moved, block)
    back_metric = _bounded(proposed.eigenvalues, density.gamma, exponent)
    back = apply(proposed.eigenvectors.mT, (u - moved)[:, block]) + epsilon * proposed.slope / back_metric
    back = back * back_metric.sqrt() / width
    log_ratio = density.log_density(moved, proposed.value) - density.log_density(u, value)
    log_ratio = log_ratio + 0.5 * (xi.square() - back.square()).sum(-1)
    log_ratio = log_ratio + 0.5 * (back_metric.log() - metric.log()).sum(-1)
    accept, rate = metropolis(log_ratio, draws)
    return choose(accept, proposed, state), rate


def _exponents(draws: Draws, free: float) -> Tensor:
    """The a of the lower bound for each particle, (N, 1)."""
    kind, place = draws.uniform(1), draws.uniform(1)
    near_half = kind < free + HALF * (1 - free)
    return torch.where(kind < free, 0.0, torch.where(near_half, 0.42 + 0.2 * place, 0.6 * place))


def _bounded(eigenvalues: Tensor, gamma: float, exponent: Tensor) -> Tensor:
    size = eigenvalues.abs().clamp(min=gamma)
    return torch.maximum(size, 2 * gamma * (size.amax(-1, keepdim=True) / gamma) ** exponent)


def apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Matrix times vector for each particle."""
    return (matrices @ vectors[..., None])[..., 0]
