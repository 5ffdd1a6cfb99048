"""Curvature of the potential U = nβL + γ/2|w-w*|², from differences of gradients.

Central differences rather than second derivatives: they work for every model that has a gradient, and at a ReLU kink
they see the curvature that a step of that length meets.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Metric

GradientAt = Callable[[Tensor], Tensor]


def gradient_of_potential(posterior: LocalPosterior, index: Tensor | None = None) -> GradientAt:
    """w (C, d) -> ∇U (C, d) on the samples `index` (None: all)."""

    def gradient(w: Tensor) -> Tensor:
        return posterior.gradient(posterior.loss.value_and_grad(w, index)[1], w)

    return gradient


def hessian_vector(gradient: GradientAt, w: Tensor, v: Tensor, radius: float) -> Tensor:
    """(∇²U) v at each row of w (C, d), by a central difference over a distance `radius` to either side."""
    step = radius * v / v.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
    # One after the other: rows are chains, which may have a centre, a temperature and a localization of their own.
    return (gradient(w + step) - gradient(w - step)) * (v.norm(dim=-1, keepdim=True) / (2 * radius))


def largest_curvature(
    gradient: GradientAt,
    w: Tensor,
    noise: ChainNoise,
    radius: float,
    metric: Metric,
    iterations: int = 12,
) -> Tensor:
    """Largest |eigenvalue| of Rᵀ (∇²U) R, G = R Rᵀ, at each row of w, by power iteration, float64 (C,).

    A dozen iterations reach it to some 10%, from below.
    """
    v = noise.normal(w)
    value = torch.zeros(len(w), dtype=torch.float64, device=w.device)
    for _ in range(iterations):
        v = v / v.norm(dim=-1, keepdim=True)
        v = metric.root_transpose(hessian_vector(gradient, w, metric.root(v), radius))
        value = v.double().norm(dim=-1)
    return value


def diagonal_curvature(gradient: GradientAt, w: Tensor, noise: ChainNoise, radius: float, probes: int = 8) -> Tensor:
    """Mean over the rows of w of diag ∇²U, (d,), by Hutchinson's estimator with random signs (Bekas et al. 2007)."""
    total = torch.zeros_like(w)
    for _ in range(probes):
        signs = noise.normal(w).sign()
        total += signs * hessian_vector(gradient, w, signs, radius)
    return total.mean(0) / probes


def leading_eigenpairs(
    matvec: Callable[[Tensor], Tensor], start: Tensor, rank: int, iterations: int
) -> tuple[Tensor, Tensor]:
    """The `rank` largest eigenvalues (k,) and eigenvectors (d, k) of a symmetric matrix, by Lanczos (1950).

    `matvec` maps (1, d) to (1, d), `start` is a random (1, d). Fully reorthogonalized, and in float64 but for
    `matvec`, so that no eigenvalue appears twice. Fewer pairs come back where the matrix has fewer distinct ones.
    """
    vector = start[0].double()
    basis: list[Tensor] = []
    images: list[Tensor] = []
    for _ in range(min(iterations, len(vector))):
        length = vector.norm()
        for _ in range(2):  # once is not enough for orthogonality to rounding (Parlett 1980)
            for other in basis:
                vector = vector - (other @ vector) * other
        if not float(vector.norm()) > 1e-10 * float(length):
            break
        basis.append(vector / vector.norm())
        images.append(matvec(basis[-1].to(start.dtype)[None])[0].double())
        vector = images[-1]
    q = torch.stack(basis, dim=1)
    small = q.T @ torch.stack(images, dim=1)
    values, vectors = torch.linalg.eigh(0.5 * (small + small.T))
    leading = values.argsort(descending=True)[:rank]
    return values[leading].to(start.dtype), (q @ vectors[:, leading]).to(start.dtype)


def extreme_eigenvalues(matvec: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> tuple[float, float]:
    """Estimates of the lowest and the highest eigenvalue of a symmetric matrix, from within, by Lanczos (1950).

    `matvec` maps (1, d) to a fresh (1, d), `start` is a random (1, d), which is overwritten. Three vectors are held, as
    large as the model, and none reorthogonalized: that only repeats eigenvalues which are there.
    """
    diagonal: list[float] = []
    beside: list[float] = []
    before, vector, steps = torch.zeros_like(start), start.div_(start.norm()), min(iterations, start.shape[1])
    del start  # the first vector is not needed to the end
    for _ in range(steps):
        product = matvec(vector)
        diagonal.append(float(vector[0] @ product[0]))
        product.sub_(vector, alpha=diagonal[-1]).sub_(before, alpha=beside[-1] if beside else 0.0)
        length = float(product.norm())
        if not length > 1e-6 * max(map(abs, diagonal)):
            break
        beside.append(length)
        before, vector = vector, product.div_(length)
    size = len(diagonal)
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for k, value in enumerate(beside[: size - 1]):
        small[k, k + 1] = small[k + 1, k] = value
    values = torch.linalg.eigvalsh(small) if bool(small.isfinite().all()) else torch.zeros(1)
    return float(values[0]), float(values[-1])
