"""Minibatch noise, estimated on the way and taken out of the noise that a kernel injects."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from samplers.errors import InputError
from samplers.gradient import Evaluation, GradientEstimator
from samplers.kernel import column
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Metric


class NoiseState(NamedTuple):
    """Estimate of the variance of Rᵀ∇U, and the steps it is made of."""

    variance: Tensor  # (C, d)
    steps: Tensor  # ()


class Compensation(Protocol):
    """What a kernel does about the noise of its gradients."""

    def init(self, w: Tensor) -> Any:
        """What it remembers, at the start of chains at w (C, d)."""
        ...

    def evaluate(
        self, estimator: GradientEstimator, posterior: LocalPosterior, w: Tensor, index: Tensor | None
    ) -> tuple[Evaluation, Tensor | None]:
        """The evaluation on the samples `index`, and a sample (C, d) of the noise of its ∇U, if it needs one."""
        ...

    def update(self, state: Any, metric: Metric, sample: Tensor | None) -> Any:
        """What it remembers after a step."""
        ...

    def factor(self, state: Any, step_size: float | Tensor) -> float | Tensor:
        """Factor on the standard deviation of the noise that a Langevin step ε, a number or (C, 1), injects."""
        ...


class Uncompensated:
    """Nothing is done."""

    def init(self, w: Tensor) -> None:
        """Nothing to remember."""
        return None

    def evaluate(
        self, estimator: GradientEstimator, posterior: LocalPosterior, w: Tensor, index: Tensor | None
    ) -> tuple[Evaluation, None]:
        """The estimator's evaluation."""
        return estimator(posterior, w, index), None

    def update(self, state: None, metric: Metric, sample: Tensor | None) -> None:
        """Nothing to remember."""
        return None

    def factor(self, state: None, step_size: float | Tensor) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class NoiseCompensation:
    """Injected variance 1 - (ε/4) V instead of 1, per coordinate of Rᵀ∇U (Ahn, Korattikara & Welling 2012).

    A minibatch gradient with variance V of Rᵀ∇U (R the root of the preconditioner) puts (ε²/4) V into a Langevin step
    of its own; with the injected noise shrunk to ε - (ε²/4) V the two together are again ε. V is estimated from the
    two halves of each minibatch, at the same number of sample gradients: with b samples of n in halves b₁, b₂,

        (∇U₁ - ∇U₂) √(b₁ b₂)/b · √(1 - b/n)

    has mean zero and the covariance of ∇U_B. Its square is averaged over the last 1/(1 - `decay`) steps, chain by
    chain. Only the diagonal of the covariance is compensated, and the injected variance never goes below `floor`:
    where (ε/4) V > 1 - floor, noise remains.
    """

    decay: float = 0.99
    floor: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InputError(f"decay must lie in [0, 1), got {self.decay}")
        if not 0 <= self.floor <= 1:
            raise InputError(f"floor must lie in [0, 1], got {self.floor}")

    def init(self, w: Tensor) -> NoiseState:
        """Nothing known yet: V = 0."""
        return NoiseState(torch.zeros_like(w), torch.zeros((), dtype=torch.float64))

    def evaluate(
        self, estimator: GradientEstimator, posterior: LocalPosterior, w: Tensor, index: Tensor | None
    ) -> tuple[Evaluation, Tensor | None]:
        """The evaluation on the samples `index`, and a sample (C, d) of the noise of its ∇U.

        On the full data there is no noise, and None comes back for it.
        """
        if index is None:
            return estimator(posterior, w, None), None
        b = len(index)
        if b < 2:
            raise InputError("noise compensation needs minibatches of at least 2 samples")
        first = estimator(posterior, w, index[: b // 2])
        second = estimator(posterior, w, index[b // 2 :])
        share = (b // 2) / b
        mean = Evaluation(*(share * x + (1 - share) * y for x, y in zip(first, second, strict=True)))
        scale = (share * (1 - share) * max(0.0, 1 - b / posterior.n)) ** 0.5
        return mean, column(scale * posterior.n_beta, w) * (first.gradient - second.gradient)

    def update(self, state: NoiseState, metric: Metric, sample: Tensor | None) -> NoiseState:
        """Take a sample of the noise of ∇U into the average."""
        if sample is None:
            return state
        steps = state.steps + 1
        gain = ((1 - self.decay) / (1 - self.decay**steps)).to(sample)
        return NoiseState(state.variance.lerp(metric.root_transpose(sample).square(), gain), steps)

    def factor(self, state: NoiseState, step_size: float | Tensor) -> Tensor:
        """Factor (C, d) on the standard deviation of the injected noise: √max(floor, 1 - (ε/4) V)."""
        return (1 - 0.25 * step_size * state.variance).clamp(min=self.floor).sqrt()
