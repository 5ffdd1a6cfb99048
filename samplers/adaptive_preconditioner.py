"""Preconditioners made of the gradients seen on the way: RMSprop and Adam moments."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.errors import InputError
from samplers.kernel import column
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Metric, Scaling


class Moments(NamedTuple):
    """Bias-corrected averages over the past gradients of each chain."""

    steps: Tensor  # (), gradients seen
    damping: Tensor  # () or (C, 1), a
    second: Tensor  # (C, d), V, of (∇U)²
    first: Tensor | None = None  # (C, d), of ∇U
    slope: Tensor | None = None  # (C, d), of ∇U diag(∇²U)


@dataclass(frozen=True)
class RMSprop:
    """G = 2a / (a + √V) per coordinate, V a running mean of (∇U)² (RMSprop; for Langevin, Li et al. 2016).

    V is the bias-corrected exponential average V ← V + g_t ((∇U)² - V), g_t = (1 - decay)/(1 - decayᵗ), of each
    chain. On the full data its mean at equilibrium is the diagonal of the mean curvature, E[(∂U)²] = E[∂²U], so that
    with `damping` a = √γ (the default) flat directions keep G = 1 and a curvature s gets 2√(γ/s): the condition
    number of the posterior becomes its square root.

    While G moves with the chain, w ← w - (ε/2) G ∇U + √(εG) ξ leaves another law than the posterior invariant
    (π/G, if G remembers one step), however small ε. By default the moments are therefore frozen after `adapt` steps,
    and what follows is a kernel with a fixed metric, to which nothing needs to be added. With adapt=None they move for
    ever and the drift is corrected by (ε/2) Γ,

        Γ_i = Σ_j ∂G_ij/∂w_j = 2 (∂G_i/∂V_i) c_i,   c the running mean of ∂_iU ∂²_iU,

    at the price of a second gradient per step, from which diag ∇²U is estimated with random signs. Li et al. count
    only the last step's share (1 - decay) of ∂V/∂w; the running mean c counts all that V still remembers. It is
    right where that memory is short beside the chain's relaxation time, and vanishes, as it should, where it is long.
    """

    decay: float = 0.99
    damping: float | None = None
    adapt: int | None = 2000
    correction: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InputError(f"decay must lie in [0, 1), got {self.decay}")
        if self.damping is not None and not self.damping > 0:
            raise InputError(f"damping must be positive, got {self.damping}")
        if self.adapt is not None and self.adapt < 1:
            raise InputError(f"adapt must be at least 1 step, or None for ever, got {self.adapt}")

    @property
    def adapts(self) -> bool:
        """Whether the metric never stops moving."""
        return self.adapt is None

    @property
    def corrected(self) -> bool:
        """Whether the kernel has to supply diag ∇²U for the drift correction."""
        return self.adapt is None and self.correction

    def init(self, posterior: LocalPosterior, w: Tensor) -> Moments:
        """No gradients seen yet."""
        damping = posterior.gamma.sqrt() if self.damping is None else torch.tensor(self.damping)
        steps = torch.zeros((), dtype=torch.float64, device=w.device)
        slope = torch.zeros_like(w) if self.corrected else None
        return Moments(steps, torch.as_tensor(column(damping, w), device=w.device), torch.zeros_like(w), None, slope)

    def update(self, state: Moments, gradient: Tensor, curvature: Tensor | None = None) -> Moments:
        """Average in one more gradient, and with it an estimate of diag ∇²U (C, d) where the drift is corrected."""
        steps = state.steps + 1
        gain = self._gain(state.steps, self.decay).to(gradient)
        second = state.second.lerp(gradient.square(), gain)
        slope = state.slope
        if slope is not None and curvature is not None:
            slope = slope.lerp(gradient * curvature, gain)
        return state._replace(steps=steps, second=second, slope=slope)

    def _gain(self, steps: Tensor, decay: float) -> Tensor:
        gain = (1 - decay) / (1 - decay ** (steps + 1))
        return gain if self.adapt is None else torch.where(steps < self.adapt, gain, 0.0)

    def at(self, state: Moments) -> Metric:
        """diag(G), a row per chain. A fixed metric: kernels that need one can go on with it."""
        return Scaling(self._metric(state).sqrt())

    def _metric(self, state: Moments) -> Tensor:
        return 2 * state.damping / (state.damping + state.second.sqrt())

    def direction(self, state: Moments, gradient: Tensor) -> Tensor:
        """∇U itself."""
        return gradient

    def drift_correction(self, state: Moments) -> Tensor:
        """Γ (C, d)."""
        assert state.slope is not None  # kernels ask only where `corrected`
        root = state.second.sqrt().clamp(min=torch.finfo(state.second.dtype).tiny)
        return -self._metric(state).square() / (2 * state.damping * root) * state.slope


@dataclass(frozen=True)
class Adam(RMSprop):
    """RMSprop's metric, driven by a running mean of the gradients in place of the gradient (Kim, Song & Liang 2022).

    The mean, bias-corrected, forgets at `momentum` (Adam's β₁). It lags behind the chain: on a quadratic with
    preconditioned curvature s the stationary variance is too large by about εs/(2(1 - momentum)) relative to 1/s, 20
    times the εs/4 of plain SGLD at momentum 0.9, and minibatch noise is no smaller over the times that matter. It is
    here because published values were made with it; SGHMC is the momentum method without that bias. The metric
    must freeze (`adapt`): no drift correction is known to make up for a lagging drift.
    """

    momentum: float = 0.9
    decay: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum must lie in [0, 1), got {self.momentum}")
        if self.adapt is None:
            raise InputError("Adam moments must stop adapting: give adapt, a number of steps")

    def init(self, posterior: LocalPosterior, w: Tensor) -> Moments:
        """No gradients seen yet."""
        return super().init(posterior, w)._replace(first=torch.zeros_like(w))

    def update(self, state: Moments, gradient: Tensor, curvature: Tensor | None = None) -> Moments:
        """Average in one more gradient; the mean that drives the chain goes on when the metric is frozen."""
        assert state.first is not None
        gain = (1 - self.momentum) / (1 - self.momentum ** (state.steps + 1))
        first = state.first.lerp(gradient, gain.to(gradient))
        return super().update(state, gradient, curvature)._replace(first=first)

    def direction(self, state: Moments, gradient: Tensor) -> Tensor:
        """The mean of the gradients."""
        assert state.first is not None
        return state.first
