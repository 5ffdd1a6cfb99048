"""Moves for densities whose scales span many decades from one point to the next, and within one point.

Near a singularity no fixed step size or metric fits: exp(-tK) for K = (xy)² is 1 wide in x where it is t^-½ wide in y,
and t^-¼ wide in both at the crossing. Each move here reads its scale off the point and pays for that in its
Metropolis ratio, so that all leave the density exactly invariant.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from samplers.analytic import Density, LocalPotential
from samplers.group_noise import Draws

LEAPFROG_STEPS = 6
STEP_SPREAD = 3.0  # standard deviation of log step: what a single gradient says of the scale is this uncertain
STEP_BASE = 0.5
FREE = 0.2  # share of the Newton moves whose metric is not bounded below
HALF = 0.5  # share of those bounded near the geometric mean of the widest and the narrowest scale

T = TypeVar("T", bound=tuple)


class Particles(NamedTuple):
    """Displacements from the centre with what is known there."""

    u: Tensor  # (N, d)
    value: Tensor  # K, (N,)
    gradient: Tensor  # of K, (N, d)

    def chosen(self, index: Tensor) -> Particles:
        """The particles of G equal groups at `index` (G, n), counted within each group."""
        groups, size = index.shape
        flat = (index + size * torch.arange(groups)[:, None]).reshape(-1)
        return Particles(*(part[flat] for part in self))


class Curvature(NamedTuple):
    """The Hessian H of K at each particle, with the spectral decomposition of tH + γ."""

    eigenvalues: Tensor  # (N, d)
    eigenvectors: Tensor  # (N, d, d), in columns
    hessian: Tensor  # (N, d, d)


def hamiltonian(
    potential: LocalPotential, density: Density, particles: Particles, draws: Draws, scale: Tensor | float = 1.0
) -> tuple[Particles, float]:
    """One trajectory of leapfrog steps of random length h, in the metric diag(scale)^-2 (Duane et al. 1987).

    log h ~ N(log(½ √d/|∇U|), 3²): around what the gradient says is the narrowest scale, and spread over decades
    because points deep inside {tK < 1} have no gradient to speak of. The density of h belongs to the joint target, and
    so to the Metropolis ratio. Returns the particles and the mean acceptance.
    """
    t, gamma, base = density.t, density.gamma, log(STEP_BASE * sqrt(potential.dimension))
    u, value, gradient = particles
    force = (t * gradient + gamma * u) * scale
    mean_log_step = base - _log_norm(force, gamma)
    log_step = mean_log_step + STEP_SPREAD * draws.normal()
    step = log_step.exp()[:, None]
    velocity = draws.normal(potential.dimension)
    before = density.log_density(u, value) - 0.5 * velocity.square().sum(-1)
    before = before - 0.5 * ((log_step - mean_log_step) / STEP_SPREAD).square()
    for _ in range(LEAPFROG_STEPS):
        velocity = velocity - 0.5 * step * force
        u = u + step * scale * velocity
        value, gradient = potential.value_and_grad(u)
        force = (t * gradient + gamma * u) * scale
        velocity = velocity - 0.5 * step * force
    after = density.log_density(u, value) - 0.5 * velocity.square().sum(-1)
    after = after - 0.5 * ((log_step - base + _log_norm(force, gamma)) / STEP_SPREAD).square()
    accept, rate = _metropolis(after - before, draws)
    return _choose(accept, Particles(u, value, gradient), particles), rate


def rescale(potential: LocalPotential, density: Density, particles: Particles, draws: Draws) -> tuple[Particles, float]:
    """Multiply some coordinates by ± e^s, |s| from hundredths to several units.

    By turns at random: one or two coordinates, each by a factor of its own; a run of neighbours, such as a layer's
    weights, by a common one; two coordinates, or all before and all after some position, by e^(ps) and e^(±qs) with p
    and q in {1, 2, 3}, which leaves xy, or two layers' product, or x² + y³ as it was up to a factor. The only move that
    is as good at 1e-30 as at 1. Gradients are left as they were: call `refresh` before a move that uses them.
    """
    u, value, _ = particles
    d = potential.dimension
    position, ends = torch.arange(d), (draws.uniform(2) * d).floor()
    run = (position >= ends.amin(-1, keepdim=True)) & (position <= ends.amax(-1, keepdim=True))
    some = draws.uniform(d) < min(1.0, 2.0 / d)
    powers = (draws.uniform(2) * 3).floor() + 1
    powers[:, 1] *= torch.where(draws.uniform() < 0.5, 1.0, -1.0)
    pair = (position == ends[:, :1]) * powers[:, :1] + (position == ends[:, 1:]) * powers[:, 1:]
    split = torch.where(position < ends[:, :1], powers[:, :1], powers[:, 1:])
    kind = draws.uniform(1)
    alone = kind < 0.3
    factor = torch.where(alone, some * draws.normal(d), run * draws.normal(1))
    both = torch.where(kind < 0.8, pair, split) * draws.normal(1)
    log_factor = torch.where(kind < 0.5, factor, both) * 3.0 * 10 ** (-2 * draws.uniform(1))
    flip = alone & some & (draws.uniform(d) < 0.1)
    proposed = u * log_factor.exp() * torch.where(flip, -1.0, 1.0)
    new_value = potential.value(proposed)
    log_ratio = density.log_density(proposed, new_value) - density.log_density(u, value) + log_factor.sum(-1)
    accept, rate = _metropolis(log_ratio, draws)
    return _choose(accept, Particles(proposed, new_value, particles.gradient), particles), rate


def refresh(potential: LocalPotential, particles: Particles) -> Particles:
    """The same particles with their gradients evaluated."""
    return Particles(particles.u, *potential.value_and_grad(particles.u))


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
    gamma, d = density.gamma, potential.dimension
    rates: list[float] = []
    state = _newton_state(potential, density, particles.u)
    while len(rates) < moves and sum(rates) < enough:
        u, value, _, eigenvalues, vectors, slope, _ = state
        epsilon = torch.where(draws.uniform(1) < 0.6, 1.0, 10 ** (-1.5 * draws.uniform(1)))
        exponent = _exponents(draws)
        metric = _bounded(eigenvalues, gamma, exponent)
        width = (epsilon * (2 - epsilon)).sqrt()
        xi = draws.normal(d)
        step = -epsilon * slope / metric + width * xi / metric.sqrt()
        proposed = _newton_state(potential, density, u + _apply(vectors, step))
        back_metric = _bounded(proposed.eigenvalues, gamma, exponent)
        back = _apply(proposed.eigenvectors.mT, u - proposed.u) + epsilon * proposed.slope / back_metric
        back = back * back_metric.sqrt() / width
        log_ratio = density.log_density(proposed.u, proposed.value) - density.log_density(u, value)
        log_ratio = log_ratio + 0.5 * (xi.square() - back.square()).sum(-1)
        log_ratio = log_ratio + 0.5 * (back_metric.log() - metric.log()).sum(-1)
        accept, rate = _metropolis(log_ratio, draws)
        rates.append(rate)
        state = _choose(accept, proposed, state)
    curvature = Curvature(state.eigenvalues, state.eigenvectors, state.hessian)
    return Particles(state.u, state.value, state.gradient), curvature, rates


class _NewtonState(NamedTuple):
    u: Tensor
    value: Tensor
    gradient: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    slope: Tensor  # ∇U in the basis of the eigenvectors
    hessian: Tensor


def _newton_state(potential: LocalPotential, density: Density, u: Tensor) -> _NewtonState:
    value, gradient, hessian = potential.value_grad_hessian(u)
    metric = density.t * hessian + density.gamma * torch.eye(potential.dimension, dtype=torch.float64)
    # An overflow marks a point that no move will be accepted at; eigh only has to survive it.
    metric = torch.nan_to_num(metric, nan=0.0, posinf=1e300, neginf=-1e300).clamp(-1e300, 1e300)
    eigenvalues, vectors = torch.linalg.eigh(metric)
    slope = _apply(vectors.mT, density.t * gradient + density.gamma * u)
    return _NewtonState(u, value, gradient, eigenvalues, vectors, slope, hessian)


def _exponents(draws: Draws) -> Tensor:
    """The a of the lower bound for each particle, (N, 1)."""
    kind, place = draws.uniform(1), draws.uniform(1)
    return torch.where(kind < FREE, 0.0, torch.where(kind < FREE + HALF, 0.42 + 0.2 * place, 0.6 * place))


def _bounded(eigenvalues: Tensor, gamma: float, exponent: Tensor) -> Tensor:
    size = eigenvalues.abs().clamp(min=gamma)
    return torch.maximum(size, 2 * gamma * (size.amax(-1, keepdim=True) / gamma) ** exponent)


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]


def _log_norm(force: Tensor, gamma: float) -> Tensor:
    """½ log(|force|² + γ), without overflow."""
    size = force.abs().amax(-1).clamp(min=sqrt(gamma))
    return size.log() + 0.5 * ((force / size[:, None]).square().sum(-1) + gamma / size.square()).log()


def _metropolis(log_ratio: Tensor, draws: Draws) -> tuple[Tensor, float]:
    # inf - inf and overflow in a proposal are refusals; NaN would compare False to everything.
    log_ratio = torch.nan_to_num(log_ratio, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    probability = log_ratio.clamp(max=0).exp()
    return draws.uniform() < probability, float(probability.mean())


def _choose(accept: Tensor, proposed: T, current: T) -> T:
    parts = [torch.where(accept.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(proposed, current, strict=True)]
    return type(current)(*parts)
