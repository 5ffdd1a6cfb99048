"""Stochastic gradient Langevin dynamics."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from samplers.errors import InputError
from samplers.gradient import GradientEstimator, Plain
from samplers.kernel import Info
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Identity, Preconditioner


class SGLDState(NamedTuple):
    """Positions of the chains."""

    position: Tensor  # (C, d)


@dataclass(frozen=True)
class SGLD:
    """w ← w - (ε/2) G ∇U(w) + √(εG) ξ, with ∇U from the gradient estimator (Welling & Teh 2011).

    Not Metropolis-corrected: on a quadratic with curvature s of U the stationary variance is 1/(s(1 - εs/4)), so that
    the learning coefficient comes out too large by a relative εs/4 per mode; stable for εs < 4. The losses reported
    are those at the position *before* the update, which the samples of this step have not yet moved.
    """

    step_size: float
    preconditioner: Preconditioner = field(default_factory=Identity)
    gradient: GradientEstimator = field(default_factory=Plain)
    full_data = False

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise InputError(f"step_size must be positive, got {self.step_size}")

    def init(self, posterior: LocalPosterior, position: Tensor) -> SGLDState:
        """Start at the given positions."""
        return SGLDState(position)

    def step(
        self, posterior: LocalPosterior, state: SGLDState, index: Tensor | None, noise: ChainNoise
    ) -> tuple[SGLDState, Info]:
        """One Langevin step of every chain."""
        w, root = state.position, self.preconditioner.root
        loss, center_loss, loss_gradient = self.gradient(posterior, w, index)
        drift = root(posterior.gradient(loss_gradient, w)).mul(-0.5 * self.step_size)
        move = root(drift.add_(noise.normal(w), alpha=self.step_size**0.5))
        return SGLDState(w + move), Info(loss, center_loss)
