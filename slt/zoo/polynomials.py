"""Polynomials in two and three variables, from Newton-nondegenerate to those a Newton polygon gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import log, pi

import numpy as np
import torch
from torch import Tensor

from slt.exact.rlct import RLCT
from slt.zoo import oracles
from slt.zoo.model import AnalyticModel, Oracle
from slt.zoo.quadrature import PLANE_STEP, TAIL, Nodes, integrate, norm_density, plain_nodes

_NEWTON = "Newton polyhedron, sum of monomials"
_PLANE = "plane curve in adapted coordinates (Varchenko 1976)"


def _model(
    name: str, dimension: int, value: tuple[str, int, str], potential: Callable[[Tensor], Tensor], oracle: Oracle
) -> AnalyticModel:
    coefficient, multiplicity, method = value
    rlct = RLCT(Fraction(coefficient), multiplicity, True, method)
    center = torch.zeros(dimension, dtype=torch.float64)
    return AnalyticModel(name, "polynomial", dimension, potential, center, rlct, oracle)


def _monomials(name: str, exponents: Sequence[tuple[int, int]], value: tuple[str, int]) -> AnalyticModel:
    """K = Σ x^a y^b over pairs of even exponents."""

    def potential(w: Tensor) -> Tensor:
        x, y = w[..., 0], w[..., 1]
        return torch.stack([x**a * y**b for a, b in exponents], -1).sum(-1)

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        degree = max(a + b for a, b in exponents)
        low = -max(log_t - 0.5 * degree * log(gamma), 0.0) - TAIL
        density = norm_density(1, 1.0, low, step=0.1)
        x, y = (axis.ravel() - 0.5 * log(gamma) for axis in np.meshgrid(density.grid, density.grid))
        log_weight = np.add.outer(density.log_weight, density.log_weight).ravel()
        return plain_nodes(log_weight, sum(np.exp(a * x + b * y) for a, b in exponents))

    return _model(name, 2, (*value, _NEWTON), potential, integrate(nodes_at))


def _pairwise_products() -> AnalyticModel:
    """K = (xy)² + (yz)² + (zx)²; given x and y the third variable is Gaussian."""

    def potential(w: Tensor) -> Tensor:
        x, y, z = w[..., 0].square(), w[..., 1].square(), w[..., 2].square()
        return x * y + y * z + z * x

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        low = -max(2 * (log_t - 2 * log(gamma)), 0.0) - 2 * TAIL
        density = norm_density(1, 2.0, low, PLANE_STEP)
        x, y = (np.exp(axis.ravel()) / gamma for axis in np.meshgrid(density.grid, density.grid))
        log_weight = np.add.outer(density.log_weight, density.log_weight).ravel()
        none = np.zeros_like(x)
        return Nodes(log_weight, np.stack([2 * (x + y) / gamma, none], 1), np.stack([none, x * y], 1))

    return _model("pairwise-products", 3, ("3/4", 1, _NEWTON), potential, integrate(nodes_at))


def _cusp() -> AnalyticModel:
    """K = (x² + y³)²: in x = r³ cos θ, y = r² sin θ it is r¹² g(θ)², with nodes that crowd at the root of g."""

    def potential(w: Tensor) -> Tensor:
        return (w[..., 0] ** 2 + w[..., 1] ** 3) ** 2

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        s = max(np.roots([1.0, 1.0, 0.0, -1.0]).real)  # sin θ = -s is the root of cos² + sin³ in [-π/2, π/2]
        root = -np.arcsin(s)
        u = np.arange(-log_t / 12 - TAIL / 5 - 2, 2 + 0.5 * max(-log(gamma), 0.0), 0.02)
        v = np.arange(-log_t - TAIL, TAIL, 0.15)
        near, far = 1 / (1 + np.exp(-v)), 1 / (1 + np.exp(v))
        weights, potentials = [], []
        for length in (pi / 2 - root, -pi / 2 - root):
            theta = root + length * near
            g = np.cos(theta) ** 2 + np.sin(theta) ** 3
            # close to the root the difference above is rounding, its expansion is not
            slope = -2 * np.cos(root) * np.sin(root) + 3 * np.sin(root) ** 2 * np.cos(root)
            g = np.where(near < 1e-9, slope * length * near, g)
            jacobian = (3 * np.cos(theta) ** 2 + 2 * np.sin(theta) ** 2) * abs(length) * near * far * 0.15 * 0.02
            x, y = np.exp(3 * u)[:, None] * np.cos(theta), np.exp(2 * u)[:, None] * np.sin(theta)
            gaussian = -0.5 * gamma * (x**2 + y**2) + log(gamma / pi)  # two halves, x > 0 and x < 0
            weights.append((5 * u[:, None] + np.log(jacobian) + gaussian).ravel())
            potentials.append((np.exp(12 * u)[:, None] * g**2).ravel())
        return plain_nodes(np.concatenate(weights), np.concatenate(potentials))

    return _model("cusp-squared", 2, ("5/12", 1, _PLANE), potential, integrate(nodes_at))


def _parabola() -> AnalyticModel:
    """K = (y - x²)² + x⁶: the Newton polygon says ¾, the coordinate s = y - x² says ⅔."""

    def potential(w: Tensor) -> Tensor:
        x, y = w[..., 0], w[..., 1]
        return (y - x**2) ** 2 + x**6

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        step = 0.08
        high = log(30.0) + max(0.0, -log(gamma))
        axis = step * np.arange(int((-log_t - TAIL) / step), int(high / step) + 1)
        u, v = (grid.ravel() for grid in np.meshgrid(axis, axis))
        x2, s = np.exp(2 * u), np.exp(v)
        measure = u + v + 2 * log(step) + log(gamma / pi) - 0.5 * gamma * x2  # two signs of x
        log_weight = measure + np.logaddexp(-0.5 * gamma * (x2 + s) ** 2, -0.5 * gamma * (x2 - s) ** 2)
        return plain_nodes(log_weight, s**2 + x2**3)

    return _model("parabola", 2, ("2/3", 1, _PLANE), potential, integrate(nodes_at))


def _line() -> AnalyticModel:
    """K = (x + y)²: degenerate on the Newton edge, regular in one parameter with another free."""

    def potential(w: Tensor) -> Tensor:
        return w.sum(-1) ** 2

    return _model("line-squared", 2, ("1/2", 1, _PLANE), potential, oracles.quadratic([4.0, 0.0]))


def models() -> list[AnalyticModel]:
    """Return the polynomial models, all centred at the origin."""
    return [
        _monomials("x4-x2y2-y4", [(4, 0), (2, 2), (0, 4)], ("1/2", 1)),
        _pairwise_products(),
        _monomials("x4-y6", [(4, 0), (0, 6)], ("5/12", 1)),
        _monomials("x4y2-x2y4", [(4, 2), (2, 4)], ("1/3", 1)),
        _monomials("x6-x2y2-y6", [(6, 0), (2, 2), (0, 6)], ("1/2", 2)),
        _cusp(),
        _parabola(),
        _line(),
    ]
