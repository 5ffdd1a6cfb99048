"""Stochastic gradient Nosé-Hoover thermostat: a friction that adapts to gradient noise of unknown strength."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.constraints import Constraint, Free
from samplers.errors import InputError
from samplers.gradient import GradientEstimator, Plain
from samplers.kernel import Info, column, require_positive
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Identity, Preconditioner, require_fixed


class SGNHTState(NamedTuple):
    """Positions, velocities and the thermostat of each chain."""

    position: Tensor  # (C, d)
    velocity: Tensor  # (C, d), in preconditioned coordinates, of variance 1 at equilibrium
    friction: Tensor  # (C,) float64, ζ: the velocity decays by e^-ζ per step


@dataclass(frozen=True)
class SGNHT:
    """Langevin dynamics whose friction settles by itself at what the gradient noise needs (Ding et al. 2014).

    Each chain has one thermostat ζ, its friction per step. With h = √ε, G = R Rᵀ, D directions of motion:

        v ← v - h Rᵀ∇U(w);   w ← w + (h/2) R v;   v' = e^-ζ v + √(A (1 - e^-2ζ)/ζ) ξ;
        ζ ← ζ + (τ²/2) ((a |v|² + (1 - a) |v'|²)/D - 1);   w ← w + (h/2) R v'

    a symmetric splitting with one gradient per step, as in Leimkuhler & Shang (2016). A = -log(momentum) is the
    friction without gradient noise, and `response` τ the angular frequency, per step, at which ζ swings: where
    |v|²/D > 1 the chain is too hot, and ζ grows. ζ ends near A + εV/2 for gradient noise of variance V in the
    coordinates R⁻¹w, which must be the same in all directions (one thermostat cannot tell directions apart): scale
    them with a preconditioner where it is not. It fluctuates by τ/√(2D); with few directions choose τ small.

    The temperature is read with a = (1 + 3c)/(4(1 + c)), c = e^-ζ, between before and after the friction: then it is
    the positions, not the velocities, that end at temperature 1, exactly so on a quadratic that is the same in
    all directions, whatever the noise. ε is that of the Langevin step, as for SGHMC at the same momentum.
    """

    step_size: float | Tensor
    momentum: float = 0.9
    response: float = 0.05
    preconditioner: Preconditioner = field(default_factory=Identity)
    gradient: GradientEstimator = field(default_factory=Plain)
    constraint: Constraint = field(default_factory=Free)
    full_data = False

    def __post_init__(self) -> None:
        require_positive("step_size", self.step_size)
        require_positive("response", self.response)
        require_fixed(self.preconditioner, "SGNHT")
        if not 0 < self.momentum < 1:
            raise InputError(f"momentum must lie between 0 and 1, got {self.momentum}")

    def init(self, posterior: LocalPosterior, position: Tensor) -> SGNHTState:
        """Start at rest, with the friction that suits a gradient without noise."""
        w = self.constraint.place(posterior, position)
        friction = torch.full((len(w),), self._added, dtype=torch.float64, device=w.device)
        return SGNHTState(w, w.new_zeros(w.shape), friction)

    @property
    def _added(self) -> float:
        return -math.log(self.momentum)

    def step(
        self, posterior: LocalPosterior, state: SGNHTState, index: Tensor | None, noise: ChainNoise
    ) -> tuple[SGNHTState, Info]:
        """One step of every chain."""
        w, friction = state.position, state.friction
        h = column(self.step_size, w) ** 0.5
        metric = self.constraint.restrict(posterior, require_fixed(self.preconditioner, "SGNHT"))
        loss, center_loss, loss_gradient = self.gradient(posterior, w, index)
        v = state.velocity - h * metric.root_transpose(posterior.gradient(loss_gradient, w))
        w, v, _ = self.constraint.travel(posterior, metric, w, v, 0.5 * h)
        before = self._kinetic(posterior, v)
        decay = torch.exp(-friction)
        # A (1 - e^-2ζ)/ζ, which tends to 2A as ζ, of either sign, passes through zero.
        small = friction.abs() < 1e-8
        variance = self._added * torch.where(small, 2.0, -torch.expm1(-2 * friction) / friction.where(~small, 1.0))
        xi = self.constraint.project(posterior, noise.normal(w))
        v = column(decay, w) * v + column(variance.sqrt(), w) * xi
        after = self._kinetic(posterior, v)
        share = (1 + 3 * decay) / (4 * (1 + decay))
        friction = friction + 0.5 * self.response**2 * (share * before + (1 - share) * after - 1)
        w, v, _ = self.constraint.travel(posterior, metric, w, v, 0.5 * h)
        return SGNHTState(w, v, friction), Info(loss, center_loss)

    def _kinetic(self, posterior: LocalPosterior, v: Tensor) -> Tensor:
        """|v|² per direction of motion, (C,)."""
        return v.square().sum(-1, dtype=torch.float64) / self.constraint.dimension(posterior)
