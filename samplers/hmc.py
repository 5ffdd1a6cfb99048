"""Hamiltonian Monte Carlo on the full data, Metropolis-corrected; with one leapfrog step it is MALA."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.constraints import Constraint, Free
from samplers.errors import InputError
from samplers.gradient import GradientEstimator, Plain
from samplers.kernel import Info, require_positive
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Identity, Preconditioner, require_fixed


class HMCState(NamedTuple):
    """Positions with what has been computed there."""

    position: Tensor  # (C, d)
    loss: Tensor  # (C,) float64
    center_loss: Tensor  # (C,) float64
    gradient: Tensor  # (C, d), of the loss


@dataclass(frozen=True)
class HMC:
    """`leapfrog_steps` leapfrog steps of size √ε, then a Metropolis test (Duane et al. 1987; Neal 2011).

    Velocities live in the preconditioned coordinates: v ~ N(0, 1), w moves by √ε G^½ v and v by -√ε/2 G^½ ∇U, so that
    one leapfrog step is exactly the Langevin step w - (ε/2) G ∇U + √(εG) ξ and ε means what it means for SGLD. Each
    chain stretches its √ε by a random factor in [1 - jitter, 1 + jitter], against periodic orbits. A share `caution`
    of trajectories shrinks it by up to 10^1.5 (log-uniform), which frees chains from regions of far higher curvature
    than ε suits. Exact for any step size, and on any constraint: its metric leads nowhere else, and reflections keep
    volume and energy.

    `step_size` is a number or one per chain (C,).
    """

    step_size: float | Tensor
    leapfrog_steps: int = 8
    preconditioner: Preconditioner = field(default_factory=Identity)
    gradient: GradientEstimator = field(default_factory=Plain)
    jitter: float = 0.2
    caution: float = 0.0
    constraint: Constraint = field(default_factory=Free)
    full_data = True

    def __post_init__(self) -> None:
        require_positive("step_size", self.step_size)
        require_fixed(self.preconditioner, "HMC")
        if self.leapfrog_steps < 1:
            raise InputError(f"leapfrog_steps must be at least 1, got {self.leapfrog_steps}")

    def init(self, posterior: LocalPosterior, position: Tensor) -> HMCState:
        """Evaluate the given positions, or where the constraint places them, on all the data."""
        w = self.constraint.place(posterior, position)
        return HMCState(w, *self.gradient(posterior, w, None))

    def step(
        self, posterior: LocalPosterior, state: HMCState, index: Tensor | None, noise: ChainNoise
    ) -> tuple[HMCState, Info]:
        """One trajectory of every chain; rejected chains stay where they were."""
        if index is not None:
            raise InputError("Metropolis-corrected kernels need the full data: leave batch_size unset")
        w, loss, center_loss, loss_gradient = state
        metric = self.constraint.restrict(posterior, require_fixed(self.preconditioner, "HMC"))
        stretch = 1 + self.jitter * (2 * noise.uniform() - 1)
        if self.caution:
            careful = noise.uniform() < self.caution
            stretch = torch.where(careful, stretch * 10 ** (-1.5 * noise.uniform()), stretch)
        h = (torch.as_tensor(self.step_size, device=w.device) ** 0.5 * stretch).to(w.dtype)[:, None]
        v = noise.normal(w)
        kinetic = 0.5 * v.double().square().sum(-1)
        before = posterior.potential(loss, w) + kinetic
        force = metric.root_transpose(posterior.gradient(loss_gradient, w))
        allowed: Tensor | None = None
        for _ in range(self.leapfrog_steps):
            v = v - 0.5 * h * force
            w, v, arrived = self.constraint.travel(posterior, metric, w, v, h)
            if arrived is not None:
                allowed = arrived if allowed is None else allowed & arrived
            loss, center_loss, loss_gradient = self.gradient(posterior, w, None)
            force = metric.root_transpose(posterior.gradient(loss_gradient, w))
            v = v - 0.5 * h * force
        after = posterior.potential(loss, w) + 0.5 * v.double().square().sum(-1)
        # A trajectory that overflows has infinite energy and is refused; NaN would compare False to everything.
        log_ratio = torch.nan_to_num(before - after, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        acceptance = log_ratio.clamp(max=0).exp()
        if allowed is not None:
            acceptance = acceptance * allowed
        accept = noise.uniform() < acceptance
        proposed = HMCState(w, loss, center_loss, loss_gradient)
        new = HMCState(*(torch.where(_like(accept, a), a, b) for a, b in zip(proposed, state, strict=True)))
        radial = torch.linalg.vecdot(posterior.displacement(new.position), new.gradient).double()
        return new, Info(new.loss, new.center_loss, acceptance, radial)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    return mask[:, None] if x.ndim == 2 else mask


def mala(
    step_size: float | Tensor,
    preconditioner: Preconditioner | None = None,
    gradient: GradientEstimator | None = None,
    constraint: Constraint | None = None,
) -> HMC:
    """Metropolis-adjusted Langevin: HMC with a single leapfrog step (Roberts & Tweedie 1996)."""
    return HMC(
        step_size,
        leapfrog_steps=1,
        preconditioner=preconditioner or Identity(),
        gradient=gradient or Plain(),
        jitter=0.0,
        constraint=constraint or Free(),
    )
