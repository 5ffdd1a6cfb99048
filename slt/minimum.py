"""Is w* a minimum? Measured by its gradient, and by what that gradient does to the learning coefficient."""

from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.curvature import gradient_of_potential, hessian_vector
from samplers.noise import data_generator
from samplers.posterior import LocalPosterior
from samplers.tuning import curvature_radius

NOISE_BATCHES = 16  # minibatches from which the sampling noise of the gradient is estimated
CURVATURE_SAMPLES = 4096
ITERATIONS = 25


@dataclass(frozen=True)
class MinimumCheck:
    """The gradient at w* and its consequences.

    `gradient_norm` is |∇L(w*)| on all the data, `noise_norm` what sampling n data alone makes of it, √(tr C / n) with
    C the covariance of per-sample gradients. `shift` is the change it makes to λ̂ under the quadratic approximation,
    in the unit of λ̂; NaN where the curvature along the gradient is negative.
    """

    gradient_norm: float
    noise_norm: float
    shift: float
    saddle: bool  # the localized potential curves downwards along the gradient's Krylov space


def check_minimum(posterior: LocalPosterior, n: int) -> MinimumCheck:
    """Gradient at w*, its sampling noise, and the shift of λ̂ it predicts.

    With U = nβL + γ/2|w - w*|², A = ∇²U(w*), g = ∇L(w*), v = A⁻¹g, a Gaussian posterior is centred at w* - nβ v and

        shift = -(nβ)² gᵀv + ½ (nβ)³ vᵀHv = -½ (nβ)² (gᵀv + γ|v|²),     H = (A - γ)/nβ,

    always downwards: the usual cause of a negative learning coefficient. v by conjugate gradients on products with A.
    """
    n_beta, gamma = float(posterior.n_beta.max()), float(posterior.gamma.max())
    center = posterior.centers[:1]
    gradient = posterior.loss.value_and_grad(center)[1]
    noise = _sampling_noise(posterior, center, n)
    norm = float(gradient.double().norm())
    if norm == 0 or n_beta == 0:
        return MinimumCheck(norm, noise, 0.0, saddle=False)
    generator = data_generator(0)
    subset = None if n <= CURVATURE_SAMPLES else torch.randperm(n, generator=generator)[:CURVATURE_SAMPLES]
    force = gradient_of_potential(posterior, subset)
    radius = curvature_radius(posterior)
    solution = _solve(lambda v: hessian_vector(force, center, v, radius), gradient)
    if solution is None:
        return MinimumCheck(norm, noise, float("nan"), saddle=True)
    overlap = float((gradient.double() * solution.double()).sum())
    shift = -0.5 * n_beta**2 * (overlap + gamma * float(solution.double().square().sum()))
    return MinimumCheck(norm, noise, shift, saddle=False)


def _sampling_noise(posterior: LocalPosterior, center: Tensor, n: int) -> float:
    size = min(n, max(1, n // NOISE_BATCHES), 256)
    order = torch.randperm(n, generator=data_generator(1))
    batches = [piece for piece in order.split(size)[:NOISE_BATCHES] if len(piece) == size]
    if len(batches) < 2:
        return float("nan")
    mean, squares = torch.zeros_like(center), 0.0
    for count, index in enumerate(batches, 1):  # Welford: one gradient at a time, for they may be large
        difference = posterior.loss.value_and_grad(center, index)[1] - mean
        mean += difference / count
        squares += float(difference.square().sum(dtype=torch.float64)) * (count - 1) / count
    spread = squares / (len(batches) - 1)  # tr C / size
    return (spread * size / n) ** 0.5


def _solve(multiply, target: Tensor) -> Tensor | None:
    """A⁻¹ target by conjugate gradients, (1, d); None where A is found not to be positive."""
    solution = torch.zeros_like(target)
    residual, direction = target.clone(), target.clone()
    squared = residual.double().square().sum()
    start = float(squared)
    for _ in range(ITERATIONS):
        product = multiply(direction)
        curvature = (direction.double() * product.double()).sum()
        if not curvature > 0:
            return None
        step = (squared / curvature).to(target.dtype)
        solution = solution + step * direction
        residual = residual - step * product
        before, squared = squared, residual.double().square().sum()
        if float(squared) < 1e-4 * start:
            break
        direction = residual + (squared / before).to(target.dtype) * direction
    return solution
