"""The closed form of linear regression on a finite data set, against which the network path is checked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from samplers.errors import InputError


class LinearReference(NamedTuple):
    """nβ (E[L] - L(center)), (nβ)² Var L and F - nβ L(center), all in nats, for one data set."""

    llc: float
    heat_capacity: float
    free_energy: float


def linear_reference(
    inputs: Tensor, targets: Tensor, center: Tensor, n_beta: float, gamma: float, noise: float = 1.0
) -> LinearReference:
    """Closed form for L(w) = mean ½ (y - x·w)²/σ² under the density ∝ exp(-nβ L - γ/2 |w - center|²).

    With g and H the gradient and Hessian of L at the centre and A = nβ H + γ, the density is Gaussian of mean
    μ = -nβ A⁻¹ g and covariance A⁻¹ about the centre, so that

        nβ (E[L] - L(center)) = nβ [g·μ + ½ μᵀHμ + ½ tr(H A⁻¹)],
        (nβ)² Var L = (nβ)² [(g + Hμ)ᵀ A⁻¹ (g + Hμ) + ½ tr(H A⁻¹ H A⁻¹)],
        F - nβ L(center) = ½ log det(A/γ) - ½ (nβ)² gᵀ A⁻¹ g.

    inputs (n, d), targets (n,) or (n, 1), center (d,). Raises InputError where shapes or signs do not fit.
    """
    n, d = inputs.shape if inputs.ndim == 2 else (0, 0)
    if n == 0 or targets.numel() != n or center.shape != (d,):
        raise InputError(
            f"linear_reference takes inputs (n, d), targets (n,) and center (d,), got {tuple(inputs.shape)}, "
            f"{tuple(targets.shape)} and {tuple(center.shape)}"
        )
    if not (n_beta > 0 and gamma > 0 and noise > 0):
        raise InputError(f"n_beta, gamma and noise must be positive, got {n_beta}, {gamma} and {noise}")
    x, y, w = inputs.double(), targets.double().reshape(n), center.double()
    hessian = x.T @ x / (n * noise**2)
    gradient = x.T @ (x @ w - y) / (n * noise**2)
    precision = n_beta * hessian + gamma * torch.eye(d, dtype=torch.float64)
    shift = -n_beta * torch.linalg.solve(precision, gradient)
    spread = torch.linalg.solve(precision, hessian)
    slope = gradient + hessian @ shift
    mean = gradient @ shift + 0.5 * shift @ hessian @ shift + 0.5 * spread.trace()
    variance = slope @ torch.linalg.solve(precision, slope) + 0.5 * (spread @ spread).trace()
    free_energy = 0.5 * torch.logdet(precision / gamma) + 0.5 * n_beta * gradient @ shift
    return LinearReference(n_beta * mean.item(), n_beta**2 * variance.item(), free_energy.item())
