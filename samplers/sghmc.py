"""Stochastic gradient Hamiltonian Monte Carlo: Langevin dynamics with momentum."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from samplers.constraints import Constraint, Free
from samplers.errors import InputError
from samplers.gradient import GradientEstimator, Plain
from samplers.kernel import Info, column, require_positive
from samplers.noise import ChainNoise
from samplers.noise_compensation import Compensation, Uncompensated
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Identity, Preconditioner, require_fixed


class SGHMCState(NamedTuple):
    """Positions and velocities, and what the noise compensation remembers (None: nothing)."""

    position: Tensor  # (C, d)
    velocity: Tensor  # (C, d), in preconditioned coordinates, of variance 1 at equilibrium
    noise: Any = None


@dataclass(frozen=True)
class SGHMC:
    """Underdamped Langevin dynamics with stochastic gradients (Chen, Fox & Guestrin 2014), one gradient per step.

    With h = √ε, G = R Rᵀ and momentum c, the share of the velocity that survives a step,

        v ← v - h Rᵀ∇U(w);   w ← w + (h/2) R v;   v ← c v + √(1 - c²) ξ;   w ← w + (h/2) R v

    which is the symmetric splitting BAOAB of Leimkuhler & Matthews (2013), seen where the gradient is taken: with the
    full gradient the positions have exactly the variance 1/s on a quadratic of curvature s, for any ε s < 4 and any c,
    and the bias elsewhere is of second order in ε at fixed c. In steps, friction is -log c per step.

    ε is that of the Langevin step: at c = 0 a step is w - (ε/2) G ∇U + √(εG) (ξ + ξ')/2, each ξ shared with the
    next step, and with v = 0 at the start the drift of the first step is the Langevin drift. Momentum c speeds slow
    directions up to the rate of a Langevin step ε(1 + c)/(1 - c). Noise of variance V in the gradient multiplies the
    variance of slow directions by 1 + (ε/4) V (1 + c)/(1 - c); the compensation, Chen et al.'s noise estimate, takes
    that out of the injected noise.
    """

    step_size: float | Tensor
    momentum: float = 0.9
    preconditioner: Preconditioner = field(default_factory=Identity)
    gradient: GradientEstimator = field(default_factory=Plain)
    constraint: Constraint = field(default_factory=Free)
    compensation: Compensation = field(default_factory=Uncompensated)
    full_data = False

    def __post_init__(self) -> None:
        require_positive("step_size", self.step_size)
        require_fixed(self.preconditioner, "SGHMC")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum must lie in [0, 1), got {self.momentum}")

    def init(self, posterior: LocalPosterior, position: Tensor) -> SGHMCState:
        """Start at rest at the given positions, or where the constraint places them."""
        w = self.constraint.place(posterior, position)
        return SGHMCState(w, w.new_zeros(w.shape), self.compensation.init(w))

    def step(
        self, posterior: LocalPosterior, state: SGHMCState, index: Tensor | None, noise: ChainNoise
    ) -> tuple[SGHMCState, Info]:
        """One step of every chain."""
        w, epsilon, c = state.position, column(self.step_size, state.position), self.momentum
        h = epsilon**0.5
        metric = self.constraint.restrict(posterior, require_fixed(self.preconditioner, "SGHMC"))
        evaluation, sample = self.compensation.evaluate(self.gradient, posterior, w, index)
        v = state.velocity - h * metric.root_transpose(posterior.gradient(evaluation.gradient, w))
        w, v, _ = self.constraint.travel(posterior, metric, w, v, 0.5 * h)
        scale = (1 - c * c) ** 0.5 * self.compensation.factor(state.noise, epsilon * (1 + c) / (1 - c))
        v = c * v + scale * noise.normal(w)
        w, v, _ = self.constraint.travel(posterior, metric, w, v, 0.5 * h)
        remembered = self.compensation.update(state.noise, metric, sample)
        return SGHMCState(w, v, remembered), Info(evaluation.loss, evaluation.center_loss)
