"""Moves for densities whose scales span many decades from one point to the next, and within one point.

Near a singularity no fixed step size or metric fits: exp(-tK) for K = (xy)² is 1 wide in x where it is t^-½ wide in y,
and t^-¼ wide in both at the crossing. Each move here reads its scale off the point and pays for that in its
Metropolis ratio, so that all leave the density exactly invariant.
"""

from __future__ import annotations

from math import log, sqrt
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from samplers.analytic import Density, LocalPotential
from samplers.group_noise import Draws

LEAPFROG_STEPS = 6
STEP_SPREAD = 3.0  # standard deviation of log step: what a single gradient says of the scale is this uncertain
STEP_BASE = 0.5
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


def hamiltonian(
    potential: LocalPotential, density: Density, particles: Particles, draws: Draws, scale: Tensor | float = 1.0
) -> tuple[Particles, float]:
    """One trajectory of leapfrog steps of random length h, in the metric diag(scale)^-2 (Duane et al. 1987).

    log h ~ N(log s, 3²), s the narrowest scale as the gradient tells it (see `_log_step`). The density of h belongs to
    the joint target, and so to the Metropolis ratio. Returns the particles and the mean acceptance.
    """
    t, gamma = density.t, density.gamma
    u, value, gradient = particles
    force = (t * gradient + gamma * u) * scale
    mean_log_step = _log_step(density, particles, scale)
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
    moved = Particles(u, value, gradient)
    after = after - 0.5 * ((log_step - _log_step(density, moved, scale)) / STEP_SPREAD).square()
    accept, rate = metropolis(after - before, draws)
    return choose(accept, moved, particles), rate


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
    accept, rate = metropolis(log_ratio, draws)
    return choose(accept, Particles(proposed, new_value, particles.gradient), particles), rate


def refresh(potential: LocalPotential, particles: Particles) -> Particles:
    """The same particles with their gradients evaluated."""
    return Particles(particles.u, *potential.value_and_grad(particles.u))


def _log_step(density: Density, particles: Particles, scale: Tensor | float) -> Tensor:
    """log(½ √d (1 + log 1/k) / |t∇K/k + γu|), k = min(tK, 1): the middle of the log steps of each particle, (N,).

    Where tK > 1 that is ½ √d/|∇U|. Deep inside {tK < 1} the gradient of a K that grows like a high power vanishes, and
    would let steps be wider than the walls by as many decades: there 1/|∇ log K| is the scale, and log 1/k the way.
    """
    u, value, gradient = particles
    inside = (density.t * value).clamp(1e-300, 1.0)
    force = (density.t * gradient / inside[:, None] + density.gamma * u) * scale
    base = log(STEP_BASE * sqrt(u.shape[1]))
    return base + (1 - inside.log()).log() - _log_norm(force, density.gamma)


def _log_norm(force: Tensor, gamma: float) -> Tensor:
    """½ log(|force|² + γ), without overflow."""
    size = force.abs().amax(-1).clamp(min=sqrt(gamma))
    return size.log() + 0.5 * ((force / size[:, None]).square().sum(-1) + gamma / size.square()).log()


def metropolis(log_ratio: Tensor, draws: Draws) -> tuple[Tensor, float]:
    """Which proposals are accepted (N,), and the mean probability of that."""
    # inf - inf and overflow in a proposal are refusals; NaN would compare False to everything.
    log_ratio = torch.nan_to_num(log_ratio, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    probability = log_ratio.clamp(max=0).exp()
    return draws.uniform() < probability, float(probability.mean())


def choose(accept: Tensor, proposed: T, current: T) -> T:
    """Row by row the proposed state where it is accepted, else the current one."""
    parts = [torch.where(accept.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(proposed, current, strict=True)]
    return type(current)(*parts)
