"""Gaussian mixtures on the line whose true distribution is one component."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor

from slt.exact import families
from slt.zoo.model import AnalyticModel


def gaussian_mixture(components: int) -> AnalyticModel:
    """K = KL(N(0,1) ‖ Σ_h π_h N(b_h, 1)), π = softmax(0, α), at equal weights and b = 0. Parameters: α, then b.

    λ = (H + 1)/4: the mean is a regular direction, and Σ_h π_h b_h², which cannot cancel, gives a fourth
    power in the H - 1 others. With r = Σ_h π_h exp(b_h x - b_h²/2), the ratio of the densities, of mean one,
    K = E[(r - 1) - log r]: no term is negative, and K keeps its digits however small it is. The integral over x
    is a trapezoidal sum on [-10, 10], exact to 1e-12 for |b_h| up to 1.5.
    """
    x = torch.linspace(-10.0, 10.0, 81, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / sqrt(2 * pi) * (x[1] - x[0])

    def potential(w: Tensor) -> Tensor:
        alpha, means = w[..., : components - 1], w[..., components - 1 :]
        log_weights = torch.log_softmax(torch.cat([torch.zeros_like(alpha[..., :1]), alpha], -1), -1)[..., None]
        log_ratios = means[..., None] * x - means[..., None].square() / 2
        excess = (log_weights.exp() * torch.expm1(log_ratios)).sum(-2)
        near = excess > -0.5
        log_ratio = torch.where(
            near, torch.log1p(torch.where(near, excess, 0.0)), torch.logsumexp(log_weights + log_ratios, -2)
        )
        return ((excess - log_ratio) * density).sum(-1)

    dimension = 2 * components - 1
    center = torch.zeros(dimension, dtype=torch.float64)
    rlct = families.location_mixture(components)
    return AnalyticModel(f"gaussian-mixture-{components}", "mixture", dimension, potential, center, rlct)


def models() -> list[AnalyticModel]:
    """Return mixtures of two and three Gaussians."""
    return [gaussian_mixture(2), gaussian_mixture(3)]
