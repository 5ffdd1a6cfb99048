"""Deep linear networks of random architecture, at a random point where their loss is least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Chain:
    """A deep linear network at w*, one (outputs, inputs) matrix a layer, and the rank of its product."""

    widths: tuple[int, ...]
    rank: int
    layers: tuple[Tensor, ...]

    @property
    def center(self) -> Tensor:
        return torch.cat([layer.flatten() for layer in self.layers])

    def potential(self, w: Tensor) -> Tensor:
        """½ ‖W_L ... W_1 - C‖² at points w (..., d)."""
        parts = torch.split(w, [layer.numel() for layer in self.layers], dim=-1)
        matrices = [part.reshape(*w.shape[:-1], *layer.shape) for part, layer in zip(parts, self.layers, strict=True)]
        return 0.5 * (product(matrices) - product(self.layers)).square().sum((-2, -1))


def product(layers: Sequence[Tensor]) -> Tensor:
    """W_L ... W_1."""
    result = layers[0]
    for layer in layers[1:]:
        result = layer @ result
    return result


def ranks(widths: Sequence[int], rank: int) -> list[int]:
    """Ranks of W_1, W_2 W_1, ..., C on a component of largest dimension.

    With M_j = H_j - r its codimension is r (H_0 + H_L - r) + Σ_j (t_{j-1} - t_j)(M_j - t_j), t_0 = M_0 ≥ ... ≥ t_L
    = 0 the ranks above r: minimized from the last layer on.
    """
    free = [width - rank for width in widths]
    last = len(free) - 1

    @cache
    def least(layer: int, before: int) -> tuple[int, tuple[int, ...]]:
        candidates = []
        for t in [0] if layer == last else range(min(before, free[layer]) + 1):
            rest, path = least(layer + 1, t) if layer < last else (0, ())
            candidates.append(((before - t) * (free[layer] - t) + rest, (t, *path)))
        return min(candidates)

    return [rank + t for t in least(1, free[0])[1]]


def chain(widths: Sequence[int], rank: int, generator: torch.Generator) -> Chain:
    """Random layers of variance 1/inputs, each made to kill as much of what reaches it as its rank asks."""
    image, layers = torch.eye(widths[0], dtype=torch.float64), []
    for (inputs, outputs), keep in zip(pairwise(widths), ranks(widths, rank), strict=True):
        layer = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64) / math.sqrt(inputs)
        drop = image.shape[1] - keep
        if drop > 0:
            chosen = torch.randn(image.shape[1], drop, generator=generator, dtype=torch.float64)
            killed = torch.linalg.qr(image @ chosen).Q
            layer = layer - (layer @ killed) @ killed.T
        layers.append(layer)
        image = torch.linalg.svd(layer @ image, full_matrices=False).U[:, :keep]
    return Chain(tuple(widths), rank, tuple(layers))


def architecture(index: int, seed: int, fewest: int, spread: float) -> tuple[list[int], int]:
    """Widths within a factor 3 of each other and rank, with fewest · spread^(u³) weights, u uniform."""
    rng = np.random.default_rng([seed, index])
    shape = np.exp(rng.uniform(0, math.log(3), rng.integers(2, 5) + 1))
    scale = math.sqrt(fewest * spread ** (rng.uniform() ** 3) / (shape[1:] * shape[:-1]).sum())
    widths = [max(2, round(scale * size)) for size in shape]
    return widths, int(rng.integers(0, min(widths) + 1))


def largest_curvature(network: Chain) -> float:
    """Largest eigenvalue of the Hessian at w*, where it is JᵀJ, by 50 rounds of power iteration."""
    w = network.center
    v = torch.randn(len(w), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, gradient = 0.0, torch.func.grad(network.potential)
    for _ in range(50):
        v = v / v.norm()
        step = torch.func.jvp(gradient, (w,), (v,))[1]
        value, v = float(v @ step), step
    return value
