"""Toy model of superposition with two hidden dimensions, in its high-sparsity limit, integrated in closed form.

f(x) = ReLU(WᵀWx + b), W in R^(2×c), b in R^c; x = μ e_i with i uniform on 1..c and μ uniform on [0, 1];
L = E‖x - f(x)‖² (Chen, Lau, Mendel, Wei & Murfet 2023, arXiv:2310.06301). Parameters: W by rows, then b.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

from slt.exact import families
from slt.zoo.model import AnalyticModel

# near (length, bias) of the k-gon; Newton's method does the rest
_START = {4: (1.0, 0.0), 5: (1.17, -0.282), 6: (1.32, -0.618), 7: (1.448, -0.967), 8: (1.55, -1.291)}
_DEAD = -0.5  # any negative bias of a zero column gives the same loss


def superposition_loss(w: Tensor, columns: int) -> Tensor:
    """Return L(W, b) for points w (..., 3c): shape (...,).

    With s = W_j·W_i and u0 = b_j, u1 = s + b_j the ends of the pre-activation as μ runs over [0, 1], output j
    on input i costs ∫ relu(μs + b)² dμ, and where i = j also ⅓ - 2 ∫ μ relu(μs + b) dμ. Each is a ratio of
    polynomials on every side of the kinks, arranged so that nothing is divided by a small number.
    """
    x, y, bias = w[..., :columns], w[..., columns : 2 * columns], w[..., 2 * columns :]
    gram = x[..., :, None] * x[..., None, :] + y[..., :, None] * y[..., None, :]
    squares = _squared_relu(gram, bias[..., None, :]).sum((-2, -1))
    reconstruction = 1 / 3 - 2 * _moment_relu(x.square() + y.square(), bias)
    return (squares + reconstruction.sum(-1)) / columns


def _squared_relu(slope: Tensor, start: Tensor) -> Tensor:
    """∫_0^1 relu(start + μ slope)² dμ."""
    end = start + slope
    last, first = end.relu(), start.relu()
    crossing = (last > 0) != (first > 0)
    width = torch.where(crossing, slope, 1.0)
    one_sided = (last + first) ** 2 * (last - first) / width
    return torch.where(crossing, one_sided, last * (last + first) + first**2) / 3


def _moment_relu(slope: Tensor, start: Tensor) -> Tensor:
    """∫_0^1 μ relu(start + μ slope) dμ, for slope >= 0 as a squared length is."""
    end = start + slope
    active = slope / 3 + start / 2
    crossing = (end > 0) & (start < 0)
    width = torch.where(crossing, slope, torch.ones_like(slope))
    partial = end**2 * (2 * slope - start) / (6 * width**2)
    return torch.where(crossing, partial, torch.where(start >= 0, active, torch.zeros_like(active)))


def polygon(sides: int, columns: int, plus: int = 0) -> Tensor:
    """Return the point w (3c,) of the k-gon with `plus` live biases 1/(2c), a critical point to 1e-12."""
    size = torch.tensor(_START[sides], dtype=torch.float64)
    if sides > 4:  # the 4-gon sits on the kinks at (1, 0) exactly

        def loss(at: Tensor) -> Tensor:
            return superposition_loss(_place(at, sides, columns, plus), columns)

        for _ in range(20):
            gradient, hessian = torch.func.grad(loss)(size), torch.func.hessian(loss)(size)
            size = size - torch.linalg.solve(hessian, gradient)
    return _place(size, sides, columns, plus).detach()


def _place(size: Tensor, sides: int, columns: int, plus: int) -> Tensor:
    angle = 2 * pi * torch.arange(sides, dtype=torch.float64) / sides
    unit = torch.zeros(2, columns, dtype=torch.float64)
    unit[0, :sides], unit[1, :sides] = angle.cos(), angle.sin()
    live = torch.zeros(columns, dtype=torch.float64)
    live[:sides] = 1.0
    rest = torch.full((columns,), _DEAD, dtype=torch.float64)
    rest[sides : sides + plus] = 1 / (2 * columns)
    return torch.cat([(size[0] * unit).flatten(), torch.where(live > 0, size[1], rest)])


def superposition(name: str, sides: int, columns: int, plus: int = 0) -> AnalyticModel:
    """K = L - L(center) at a k-gon: positive near the centre, negative far away where a better polygon is."""
    center = polygon(sides, columns, plus)
    offset = superposition_loss(center, columns)

    def potential(w: Tensor) -> Tensor:
        return superposition_loss(w, columns) - offset

    rlct = families.superposition_polygon(sides, columns, plus)
    note = "a local minimum: K < 0 elsewhere" if sides < columns or plus < columns - sides else ""
    if sides == 4:
        note = (note + "; " if note else "") + "on ReLU kinks, converges slowly in t"
    return AnalyticModel(name, "superposition", 3 * columns, potential, center, rlct, note=note)


def models() -> list[AnalyticModel]:
    """Return polygons with five to eight columns."""
    cases: Sequence[tuple[str, int, int, int]] = [
        ("superposition-5-gon-c5", 5, 5, 0),
        ("superposition-5-gon", 5, 6, 0),
        ("superposition-5-plus", 5, 6, 1),
        ("superposition-6-gon", 6, 6, 0),
        ("superposition-7-gon", 7, 7, 0),
        ("superposition-8-gon", 8, 8, 0),
        ("superposition-4-gon", 4, 6, 0),
        ("superposition-4-plus", 4, 6, 1),
    ]
    return [superposition(*case) for case in cases]
