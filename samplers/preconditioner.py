"""Preconditioners G: symmetric, positive, applied through their square root."""

from typing import Protocol

import torch
from torch import Tensor

from samplers.errors import InputError


class Preconditioner(Protocol):
    """A fixed G > 0. Kernels need only G^½: a step is G^½ (-(ε/2) G^½ ∇U + √ε ξ)."""

    def root(self, x: Tensor) -> Tensor:
        """G^½ x for each row of x (C, d)."""
        ...


class Identity:
    """G = 1."""

    def root(self, x: Tensor) -> Tensor:
        """X itself."""
        return x


class Diagonal:
    """G = diag(g), g (d,) or (C, d), all positive."""

    def __init__(self, diagonal: Tensor):
        if not bool((diagonal > 0).all() and diagonal.isfinite().all()):
            raise InputError("a diagonal preconditioner needs positive, finite entries")
        self.diagonal = diagonal
        self._root = diagonal.sqrt()

    def root(self, x: Tensor) -> Tensor:
        """√g x."""
        return self._root * x

    @classmethod
    def from_curvature(cls, curvature: Tensor, gamma: float) -> "Diagonal":
        """G = γ / max(γ, c) for a curvature estimate c (d,) of U = nβL + γ/2|w-w*|².

        Directions in which the loss is flat (c = γ) keep G = 1, so that a step size means there what it means without
        a preconditioner; stiff directions take steps shorter by as much as they are stiffer.
        """
        return cls(gamma / torch.clamp(curvature, min=gamma))
