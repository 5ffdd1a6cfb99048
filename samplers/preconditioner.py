"""Preconditioners G = R Rᵀ: positive, applied through a root R. What moves is state, carried by the kernel."""

from typing import Any, Protocol

import torch
from torch import Tensor

from samplers.errors import InputError
from samplers.posterior import LocalPosterior


class Metric(Protocol):
    """G = R Rᵀ at one step: a Langevin step is R (-(ε/2) Rᵀ∇U + √ε ξ)."""

    def root(self, x: Tensor) -> Tensor:
        """R x for each row of x (C, d)."""
        ...

    def root_transpose(self, x: Tensor) -> Tensor:
        """Rᵀ x for each row of x (C, d)."""
        ...


class Preconditioner(Protocol):
    """Where the metric of a step comes from.

    `adapts` says whether the metric still moves along with the chain when its warm-up is over; then only kernels that
    correct for it may use it.
    """

    adapts: bool

    def init(self, posterior: LocalPosterior, w: Tensor) -> Any:
        """What it remembers, at the start of chains at w (C, d): tensors, row by row, or None."""
        ...

    def update(self, state: Any, gradient: Tensor) -> Any:
        """What it remembers after a step with ∇U (C, d)."""
        ...

    def at(self, state: Any) -> Metric:
        """The metric of the step."""
        ...

    def direction(self, state: Any, gradient: Tensor) -> Tensor:
        """What drives the step in the place of ∇U (C, d)."""
        ...


class Fixed:
    """A metric that stays what it is, so that it is its own preconditioner. Subclasses give `root`."""

    adapts = False

    def root(self, x: Tensor) -> Tensor:
        """R x."""
        raise NotImplementedError

    def root_transpose(self, x: Tensor) -> Tensor:
        """Rᵀ x; R itself where R is symmetric."""
        return self.root(x)

    def init(self, posterior: LocalPosterior, w: Tensor) -> None:
        """Nothing to remember."""
        return None

    def update(self, state: None, gradient: Tensor) -> None:
        """Nothing to remember."""
        return None

    def at(self, state: None) -> Metric:
        """The metric itself."""
        return self

    def direction(self, state: None, gradient: Tensor) -> Tensor:
        """∇U itself."""
        return gradient


class Identity(Fixed):
    """G = 1."""

    def root(self, x: Tensor) -> Tensor:
        """X itself."""
        return x


class Scaling(Fixed):
    """G = diag(r²), r (d,) or (C, d). Nothing is checked: a chain turned non-finite must not stop the others."""

    def __init__(self, scale: Tensor):
        self.scale = scale

    def root(self, x: Tensor) -> Tensor:
        """R x, elementwise."""
        return self.scale * x


class Diagonal(Scaling):
    """G = diag(g), g (d,) or (C, d), all positive."""

    def __init__(self, diagonal: Tensor):
        if not bool((diagonal > 0).all() and diagonal.isfinite().all()):
            raise InputError("a diagonal preconditioner needs positive, finite entries")
        super().__init__(diagonal.sqrt())
        self.diagonal = diagonal

    @classmethod
    def from_curvature(cls, curvature: Tensor, gamma: float) -> "Diagonal":
        """G = γ / max(γ, c) for a curvature estimate c (d,) of U = nβL + γ/2|w-w*|².

        Directions in which the loss is flat (c = γ) keep G = 1, so that a step size means there what it means without
        a preconditioner; stiff directions take steps shorter by as much as they are stiffer.
        """
        return cls(gamma / torch.clamp(curvature, min=gamma))


def require_fixed(preconditioner: Preconditioner, kernel: str) -> Fixed:
    """The preconditioner, if it is a fixed one; else InputError."""
    if not isinstance(preconditioner, Fixed):
        raise InputError(
            f"{kernel} needs a fixed preconditioner (Identity, Diagonal, LowRank), got "
            f"{type(preconditioner).__name__}, which adapts"
        )
    return preconditioner
