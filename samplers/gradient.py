"""Gradient estimators: what a kernel is told of ∇L at its chains, and the paired loss at w*."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from samplers.engine import LossFunction
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


class AtCenters:
    """A function of the centres of a posterior, computed once for each loss and set of centres."""

    def __init__(self, compute: Callable[[LocalPosterior], Tensor]):
        self._compute = compute
        self._known: tuple[LossFunction, Tensor, Tensor] | None = None

    def __call__(self, posterior: LocalPosterior) -> Tensor:
        """The value, rows as many as centres."""
        if self._known is not None:
            loss, centers, value = self._known
            # Posteriors at several temperatures hold views of the same centres, not the same tensor.
            same = centers.data_ptr() == posterior.centers.data_ptr() and centers.shape == posterior.centers.shape
            if same and loss is posterior.loss:
                return value
        value = self._compute(posterior)
        self._known = posterior.loss, posterior.centers, value
        return value


class Plain:
    """The gradient of the mean loss on the samples given. On all the data L(w*) is computed once and kept."""

    def __init__(self) -> None:
        self._full = AtCenters(lambda posterior: posterior.loss.value(posterior.centers))

    def __call__(self, posterior: LocalPosterior, w: Tensor, index: Tensor | None) -> Evaluation:
        """L, L(w*) and ∇L on the samples `index`."""
        loss, gradient = posterior.loss.value_and_grad(w, index)
        center_loss = self._center_loss(posterior, index)
        return Evaluation(loss, posterior.per_chain_center(center_loss, len(w)), gradient)

    def _center_loss(self, posterior: LocalPosterior, index: Tensor | None) -> Tensor:
        return self._full(posterior) if index is None else posterior.loss.value(posterior.centers, index)


class ControlVariate:
    """∇L_B(w) - ∇L_B(w*) + ∇L(w*): minibatch noise vanishes as w nears w* (Baker et al. 2019).

    The gradient at w* on the shared minibatch is one more row of the batch, computed once for all chains; the full
    gradient at w* is computed once for the run.
    """

    def __init__(self) -> None:
        self._plain = Plain()
        self._full = AtCenters(lambda posterior: posterior.loss.value_and_grad(posterior.centers)[1])

    def __call__(self, posterior: LocalPosterior, w: Tensor, index: Tensor | None) -> Evaluation:
        """L and L(w*) on the samples `index`, and the corrected gradient."""
        if index is None:
            return self._plain(posterior, w, None)
        chains = len(w)
        loss, gradient = posterior.loss.value_and_grad(torch.cat([w, posterior.centers]), index)
        excess = posterior.per_chain_center(gradient[chains:] - self._full(posterior), chains)
        center_loss = posterior.per_chain_center(loss[chains:], chains)
        return Evaluation(loss[:chains], center_loss, gradient[:chains] - excess)
