"""Low-rank + diagonal preconditioner: the leading curvature directions flattened, a diagonal for the rest."""

import torch
from torch import Tensor

from samplers.curvature import GradientAt, hessian_vector, leading_eigenpairs
from samplers.errors import InputError
from samplers.noise import ChainNoise
from samplers.preconditioner import Diagonal, Fixed


class LowRank(Fixed):
    """G = D^½ (1 + Q (diag(r) - 1) Qᵀ) D^½, with orthonormal Q (d, k), r (k,) > 0 and D = diag(diagonal) (d,) > 0.

    Its root R = D^½ (1 + Q (diag(√r) - 1) Qᵀ) is not symmetric unless D is a multiple of 1. k more vectors of
    memory and 4dk more operations per chain and step.
    """

    def __init__(self, vectors: Tensor, values: Tensor, diagonal: Tensor | None = None):
        if vectors.ndim != 2 or values.shape != vectors.shape[1:]:
            raise InputError(
                f"a low-rank preconditioner needs vectors (d, k) and values (k,), got {tuple(vectors.shape)} and "
                f"{tuple(values.shape)}"
            )
        if not bool((values > 0).all() and values.isfinite().all()):
            raise InputError("a low-rank preconditioner needs positive, finite values")
        overlap = vectors.T @ vectors - torch.eye(len(values), dtype=vectors.dtype, device=vectors.device)
        if not bool((overlap.abs() < 1e-3).all()):
            raise InputError("the vectors of a low-rank preconditioner must be orthonormal")
        self.vectors, self.values = vectors, values
        self.diagonal = None if diagonal is None else Diagonal(diagonal)
        self._stretch = values.sqrt() - 1

    def _flatten(self, x: Tensor) -> Tensor:
        return x + ((x @ self.vectors) * self._stretch) @ self.vectors.T

    def root(self, x: Tensor) -> Tensor:
        """D^½ (1 + Q (√r - 1) Qᵀ) x."""
        x = self._flatten(x)
        return x if self.diagonal is None else self.diagonal.root(x)

    def root_transpose(self, x: Tensor) -> Tensor:
        """(1 + Q (√r - 1) Qᵀ) D^½ x."""
        return self._flatten(x if self.diagonal is None else self.diagonal.root(x))

    @classmethod
    def from_curvature(
        cls,
        gradient: GradientAt,
        w: Tensor,
        noise: ChainNoise,
        radius: float,
        gamma: float,
        rank: int = 16,
        diagonal: Tensor | None = None,
    ) -> "LowRank":
        """G from the curvature ∇²U at one point w (1, d): r_i = γ/μ_i for the eigenvalues μ_i > γ found there.

        μ are the largest `rank` eigenvalues of D^½ ∇²U D^½, from 2·rank + 10 Lanczos steps of two gradients each;
        D = 1 unless given (`Diagonal.from_curvature(...).diagonal`, say). Flat directions (curvature γ) keep their
        step, stiff ones are slowed to the same rate.
        """
        if rank < 1:
            raise InputError(f"rank must be at least 1, got {rank}")
        scale = None if diagonal is None else Diagonal(diagonal)

        def matvec(v: Tensor) -> Tensor:
            if scale is None:
                return hessian_vector(gradient, w, v, radius)
            return scale.root(hessian_vector(gradient, w, scale.root(v), radius))

        values, vectors = leading_eigenpairs(matvec, noise.normal(w[:1]), rank, 2 * rank + 10)
        stiff = values > gamma
        return cls(vectors[:, stiff], gamma / values[stiff], diagonal)
