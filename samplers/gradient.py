"""Gradient estimators: what a kernel is told of ∇L at its chains, and the paired loss at w*."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from samplers.posterior import LocalPosterior


class Evaluation(NamedTuple):
    """L and its gradient at each chain, and L(w*) on the very same samples."""

    loss: Tensor  # (C,) float64
    center_loss: Tensor  # (C,) float64
    gradient: Tensor  # (C, d)


class GradientEstimator(Protocol):
    """Evaluates the chains on the samples `index` (None: all of them)."""

    def __call__(self, posterior: LocalPosterior, w: Tensor, index: Tensor | None) -> Evaluation:
        """L, L(w*) and an unbiased estimate of ∇L."""
        ...


class Plain:
    """The gradient of the mean loss on the samples given. On all the data L(w*) is computed once and kept."""

    def __init__(self) -> None:
        self._full: tuple[Tensor, Tensor] | None = None  # centres, their loss on all the data

    def __call__(self, posterior: LocalPosterior, w: Tensor, index: Tensor | None) -> Evaluation:
        """L, L(w*) and ∇L on the samples `index`."""
        loss, gradient = posterior.loss.value_and_grad(w, index)
        center_loss = self._center_loss(posterior, index)
        return Evaluation(loss, posterior.per_chain_center(center_loss, len(w)), gradient)

    def _center_loss(self, posterior: LocalPosterior, index: Tensor | None) -> Tensor:
        if index is not None:
            return posterior.loss.value(posterior.centers, index)
        if self._full is None or self._full[0] is not posterior.centers:
            self._full = posterior.centers, posterior.loss.value(posterior.centers)
        return self._full[1]


class ControlVariate:
    """∇L_B(w) - ∇L_B(w*) + ∇L(w*): minibatch noise vanishes as w nears w* (Baker et al. 2019).

    The gradient at w* on the shared minibatch is one more row of the batch, computed once for all chains; the full
    gradient at w* is computed once for the run.
    """

    def __init__(self) -> None:
        self._full: tuple[Tensor, Tensor] | None = None  # centres, their gradient on all the data

    def __call__(self, posterior: LocalPosterior, w: Tensor, index: Tensor | None) -> Evaluation:
        """L and L(w*) on the samples `index`, and the corrected gradient."""
        chains = len(w)
        loss, gradient = posterior.loss.value_and_grad(torch.cat([w, posterior.centers]), index)
        if self._full is None or self._full[0] is not posterior.centers:
            self._full = posterior.centers, posterior.loss.value_and_grad(posterior.centers)[1]
        correction = posterior.per_chain_center(self._full[1] - gradient[chains:], chains)
        center_loss = posterior.per_chain_center(loss[chains:], chains)
        return Evaluation(loss[:chains], center_loss, gradient[:chains] + correction)
