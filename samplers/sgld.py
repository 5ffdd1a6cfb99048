"""Stochastic gradient Langevin dynamics."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from samplers.adaptive_preconditioner import RMSprop
from samplers.constraints import Constraint, Free, Mask
from samplers.errors import InputError
from samplers.gradient import GradientEstimator, Plain
from samplers.kernel import Info, column, require_positive
from samplers.noise import ChainNoise
from samplers.noise_compensation import Compensation, Uncompensated
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Identity, Preconditioner

PROBE = 0.01  # distance, in units of 1/√γ, over which the curvature of the drift correction is measured


class SGLDState(NamedTuple):
    """Positions of the chains, and what the parts of the kernel remember (None: nothing)."""

    position: Tensor  # (C, d)
    moments: Any = None  # of the preconditioner
    noise: Any = None  # of the noise compensation


@dataclass(frozen=True)
class SGLD:
    """w ← w - (ε/2) G ∇U(w) + √(εG) ξ, with ∇U from the gradient estimator (Welling & Teh 2011).

    Not Metropolis-corrected: on a quadratic with curvature s of U the stationary variance is 1/(s(1 - εs/4)), so that
    the learning coefficient comes out too large by a relative εs/4 per mode; stable for εs < 4. A gradient with
    noise of variance V multiplies it by 1 + εV/4. With a preconditioner G = R Rᵀ both hold in the coordinates R⁻¹w.
    The losses reported are those at the position *before* the update, which the samples of this step have not yet
    moved.

    `step_size` is a number or one per chain (C,).
    """

    step_size: float | Tensor
    preconditioner: Preconditioner = field(default_factory=Identity)
    gradient: GradientEstimator = field(default_factory=Plain)
    constraint: Constraint = field(default_factory=Free)
    compensation: Compensation = field(default_factory=Uncompensated)
    full_data = False

    def __post_init__(self) -> None:
        require_positive("step_size", self.step_size)
        if self._corrected and not (type(self.constraint) is Free or isinstance(self.constraint, Mask)):
            raise InputError(
                "the drift correction of a moving preconditioner knows no constraint but a mask: give adapt"
            )

    @property
    def _corrected(self) -> bool:
        return isinstance(self.preconditioner, RMSprop) and self.preconditioner.corrected

    def init(self, posterior: LocalPosterior, position: Tensor) -> SGLDState:
        """Start at the given positions, or where the constraint places them."""
        w = self.constraint.place(posterior, position)
        return SGLDState(w, self.preconditioner.init(posterior, w), self.compensation.init(w))

    def step(
        self, posterior: LocalPosterior, state: SGLDState, index: Tensor | None, noise: ChainNoise
    ) -> tuple[SGLDState, Info]:
        """One Langevin step of every chain."""
        w, epsilon = state.position, column(self.step_size, state.position)
        evaluation, sample = self.compensation.evaluate(self.gradient, posterior, w, index)
        info = Info(evaluation.loss, evaluation.center_loss)
        gradient = posterior.gradient(evaluation.gradient, w, overwrite=True)
        del evaluation  # as large as all positions: large models have no room for what is no longer needed
        moments, correction = self._adapt(posterior, state, gradient, index, noise)
        metric = self.constraint.restrict(posterior, self.preconditioner.at(moments))
        drift = metric.root_transpose(self.preconditioner.direction(moments, gradient))
        scale = epsilon**0.5 * self.compensation.factor(state.noise, epsilon)
        # In place of the gradient, unless the preconditioner still holds it.
        move = drift.mul_(-0.5 * epsilon) if drift is gradient else drift.mul(-0.5 * epsilon)
        del gradient, drift
        move = noise.add_normal(move, scale)
        position = self.constraint.move(posterior, metric, w, move)
        if correction is not None:
            position = position + 0.5 * epsilon * self.constraint.project(posterior, correction)
        remembered = self.compensation.update(state.noise, metric, sample)
        return SGLDState(position, moments, remembered), info

    def _adapt(
        self, posterior: LocalPosterior, state: SGLDState, gradient: Tensor, index: Tensor | None, noise: ChainNoise
    ) -> tuple[Any, Tensor | None]:
        """What the preconditioner remembers now, and the drift correction Γ where it moves."""
        if not (isinstance(self.preconditioner, RMSprop) and self._corrected):
            return self.preconditioner.update(state.moments, gradient), None
        w = state.position
        signs = noise.normal(w).sign()
        radius = PROBE * column(posterior.gamma, w) ** -0.5
        ahead = w + radius * signs
        there = posterior.gradient(self.gradient(posterior, ahead, index).gradient, ahead)
        # diag ∇²U by Hutchinson's estimator; the error linear in the radius is odd in the signs and averages to zero.
        moments = self.preconditioner.update(state.moments, gradient, signs * (there - gradient) / radius)
        return moments, self.preconditioner.drift_correction(moments)
