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
    power in the H - 1 others. The integral over x is a trapezoidal sum on [-12, 12], exact to rounding for
    |b_h| up to about 10.
    """
    x = torch.linspace(-12.0, 12.0, 241, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / sqrt(2 * pi) * (x[1] - x[0])

    def potential(w: Tensor) -> Tensor:
        alpha, means = w[..., : components - 1], w[..., components - 1 :]
        logits = torch.cat([torch.zeros_like(alpha[..., :1]), alpha], -1)
        log_weights = torch.log_softmax(logits, -1)
        log_ratio = log_weights[..., None] + means[..., None] * x - means[..., None].square() / 2
        return -(torch.logsumexp(log_ratio, -2) * density).sum(-1)

    dimension = 2 * components - 1
    center = torch.zeros(dimension, dtype=torch.float64)
    rlct = families.location_mixture(components)
    return AnalyticModel(f"gaussian-mixture-{components}", "mixture", dimension, potential, center, rlct)


def models() -> list[AnalyticModel]:
    """Return mixtures of two and three Gaussians."""
    return [gaussian_mixture(2), gaussian_mixture(3)]
