"""Is w* a minimum? Measured by its gradient, and by what that gradient does to the learning coefficient."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from samplers.curvature import extreme_eigenvalues
from samplers.noise import data_generator
from samplers.posterior import LocalPosterior
from samplers.tuning import curvature_radius

NOISE_BATCHES = 16  # minibatches from which the sampling noise of the gradient is estimated
CURVATURE_SAMPLES = 4096
ITERATIONS = 25
SCALE_PROBES, PROBES = 4, 16  # products with the Hessian: for its size, and for a way down
NEAR = 0.1  # standard deviations of the steepest direction
CLOSER = 1 / 64  # of the distance at which the shift is measured
RESOLVED = 1e-3  # of the largest curvature: what differences of gradients in float32 can tell from zero


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
    saddle: bool  # the localized potential curves downwards from w* in some direction


def check_minimum(posterior: LocalPosterior, n: int) -> MinimumCheck:
    """Gradient at w*, its sampling noise, and the shift of λ̂ it predicts.

    Whether U curves downwards at w* is looked for from the gradient and from a random direction (Lanczos 1950); a way
    down counts where U falls more steeply than the localizer alone would rise.

    With U = nβL + γ/2|w - w*|², A = ∇²U(w*), g = ∇L(w*), v = A⁻¹g, a Gaussian posterior is centred at w* - nβ v and

        shift = -(nβ)² gᵀv + ½ (nβ)³ vᵀHv = -½ (nβ)² (gᵀv + γ|v|²),     H = (A - γ)/nβ,

    always downwards: the usual cause of a negative learning coefficient. v by conjugate gradients on products with A.
    """
    n_beta, gamma = float(posterior.n_beta.max()), float(posterior.gamma.max())
    center = posterior.centers[:1]
    gradient = posterior.loss.value_and_grad(center)[1]
    noise = _sampling_noise(posterior, center, n)
    norm = float(gradient.norm())
    if n_beta == 0:
        return MinimumCheck(norm, noise, 0.0, saddle=False)
    generator = data_generator(0)
    subset = None if n <= CURVATURE_SAMPLES else torch.randperm(n, generator=generator)[:CURVATURE_SAMPLES]

    radius = curvature_radius(posterior)
    found = _solve(lambda v: _curve(posterior, center, v, subset, radius), gradient) if norm > 0 else (0.0, 0.0)
    del gradient  # overwritten, and as large as the model
    if found is None:
        return MinimumCheck(norm, noise, float("nan"), saddle=True)
    overlap, square = found
    # At a saddle the gradient is zero, or rounding, and says nothing of the way down. Products with A are looked for
    # so close to w* that U changes by hundredths of a nat: further out quartic terms make of them no matrix's.
    for iterations in (SCALE_PROBES, PROBES):
        close = partial(_curve, posterior, center, subset=subset, radius=radius * CLOSER)
        lowest, highest = extreme_eigenvalues(close, _random_direction(center), iterations)
        radius = min(radius, NEAR / max(abs(lowest), highest, gamma) ** 0.5 / CLOSER)
    saddle = lowest < -max(gamma, RESOLVED * highest)
    return MinimumCheck(norm, noise, -0.5 * n_beta**2 * (overlap + gamma * square), saddle)


def _random_direction(center: Tensor) -> Tensor:
    return torch.randn(center.shape, generator=data_generator(2), dtype=center.dtype).to(center.device)


def _curve(posterior: LocalPosterior, center: Tensor, v: Tensor, subset: Tensor | None, radius: float) -> Tensor:
    """A v = (nβ ∇²L + γ) v at w*, (1, d), by a central difference of gradients."""
    length = float(v.norm())
    radius = radius / length if length else 1.0
    point = torch.add(center, v, alpha=radius)
    product = posterior.loss.value_and_grad(point, subset)[1]
    product -= posterior.loss.value_and_grad(point.add_(v, alpha=-2 * radius), subset)[1]
    product *= float(posterior.n_beta.max()) / (2 * radius)
    return product.add_(v, alpha=float(posterior.gamma.max()))


def _sampling_noise(posterior: LocalPosterior, center: Tensor, n: int) -> float:
    size = min(n, max(1, n // NOISE_BATCHES), 256)
    order = torch.randperm(n, generator=data_generator(1))
    batches = [piece for piece in order.split(size)[:NOISE_BATCHES] if len(piece) == size]
    if len(batches) < 2:
        return float("nan")
    mean, squares = torch.zeros_like(center), 0.0
    for count, index in enumerate(batches, 1):  # Welford: one gradient at a time, for they may be large
        difference = posterior.loss.value_and_grad(center, index)[1].sub_(mean)
        mean.add_(difference, alpha=1 / count)
        squares += float(difference.norm()) ** 2 * (count - 1) / count
    spread = squares / (len(batches) - 1)  # tr C / size
    return (spread * size / n) ** 0.5


def _solve(multiply: Callable[[Tensor], Tensor], target: Tensor) -> tuple[float, float] | None:
    """gᵀv and |v|² of v = A⁻¹g by conjugate gradients, g (1, d), which is overwritten; None where A is not positive.

    Both are sums over the iterations (Steihaug 1983), so that v itself, as large as the model, is never held.
    """
    residual, direction = target, target.clone()
    squared = start = length = float(residual.norm()) ** 2  # length: |direction|²
    overlap = square = along = 0.0  # gᵀv, |v|² and vᵀdirection
    for _ in range(ITERATIONS):
        product = multiply(direction)
        curvature = float(direction[0] @ product[0])
        if not curvature > 0:
            return None
        step = squared / curvature
        overlap += step * squared
        square += 2 * step * along + step**2 * length
        residual.sub_(product, alpha=step)
        del product  # before the next two gradients are taken
        before, squared = squared, float(residual.norm()) ** 2
        if squared < 1e-4 * start:
            break
        turn = squared / before
        along, length = turn * (along + step * length), squared + turn**2 * length
        direction.mul_(turn).add_(residual)
    return overlap, square
