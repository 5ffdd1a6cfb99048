"""Deep polynomial networks of two parameters: f(x) = W σ(W σ(... W x)), W = [[a+b, a²], [a², b²]], σ(z) = z^r."""

from __future__ import annotations

from fractions import Fraction
from math import log, pi, sqrt

import numpy as np
import torch
from torch import Tensor

from slt.exact.rlct import RLCT
from slt.zoo.model import AnalyticModel, Oracle
from slt.zoo.quadrature import TAIL, Nodes, integrate, plain_nodes

# (layers L, degree r) -> λ, each with m = 1
_CASES = {
    (1, 2): "3/4",
    (2, 2): "1/4",
    (3, 2): "3/28",
    (4, 2): "1/20",
    (5, 2): "3/124",
    (2, 3): "3/16",
    (3, 3): "3/52",
    (4, 3): "3/160",
    (2, 4): "3/20",
    (3, 4): "1/28",
}


def network_inputs(layers: int, degree: int) -> Tensor:
    """Return r^(L-1) + 1 unit vectors (k, 2) on a half circle: enough that K = 0 only if every coefficient of f is."""
    count = degree ** (layers - 1) + 1
    angle = pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.stack([angle.cos(), angle.sin()], 1)


def polynomial_network(layers: int, degree: int) -> AnalyticModel:
    """K = mean over `network_inputs` of |f(x)|², at a = b = 0 (Sergeant-Perthuis, Tsigaridas & Tsukahara 2026).

    With a + b = c a² the leading form is a^(2N) g(c), N = 2(1 + r + ... + r^(L-1)) and g > 0, so that
    λ = 3/(2N), m = 1. K underflows to zero close to the origin for many layers.
    """
    x = network_inputs(layers, degree)

    def from_sum(a: Tensor, b: Tensor, total: Tensor) -> Tensor:
        diagonal, square, last = total[..., None], a.square()[..., None], b.square()[..., None]
        top, bottom = x[:, 0], x[:, 1]
        for layer in range(layers):
            if layer > 0:
                top, bottom = top**degree, bottom**degree
            top, bottom = diagonal * top + square * bottom, square * top + last * bottom
        return (top.square() + bottom.square()).mean(-1)

    def potential(w: Tensor) -> Tensor:
        a, b = w[..., 0], w[..., 1]
        return from_sum(a, b, a + b)

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        return _nodes(from_sum, 2 * sum(degree**k for k in range(layers)), log_t, gamma)

    oracle: Oracle | None = integrate(nodes_at) if degree ** (layers - 1) <= 4 else None
    rlct = RLCT(Fraction(_CASES[layers, degree]), 1, True, "plane curve (Sergeant-Perthuis et al. 2026)")
    center = torch.zeros(2, dtype=torch.float64)
    name = f"polynomial-network-L{layers}-r{degree}"
    return AnalyticModel(name, "polynomial-network", 2, potential, center, rlct, oracle)


def _nodes(from_sum, order: int, log_t: float, gamma: float) -> Nodes:
    """Nodes in a = ± e^u and a + b = a² sinh v, in which the leading form of K has no real zero."""
    step = 0.28 / order  # the leading form is e^(2 order u), analytic in a strip of width π/(2 order)
    high = log(12 / sqrt(gamma))
    narrow = 0.5 * max(log(gamma), 0.0)
    u = np.arange(-log_t / (2 * order) - TAIL / 3 - narrow, high, step)
    axis = np.arange(0.0, high - 2 * u[0] + 1, step)
    v = np.concatenate([-axis[:0:-1], axis])
    weights, potentials = [], []
    for sign in (1.0, -1.0):
        for row in np.array_split(u, max(1, len(u) * len(v) // 500_000)):
            a = sign * np.exp(row)[:, None]
            total = a**2 * np.sinh(v)
            b = total - a
            log_weight = 3 * row[:, None] + np.log(np.cosh(v)) - 0.5 * gamma * (a**2 + b**2)
            keep = log_weight > -30.0 - log_t * 1.5 / order - narrow
            points = np.broadcast_to(a, b.shape)[keep], b[keep], total[keep]
            weights.append(log_weight[keep] + log(step * step * gamma / (2 * pi)))
            potentials.append(from_sum(*[torch.tensor(p) for p in points]).numpy())
    return plain_nodes(np.concatenate(weights), np.concatenate(potentials))


def models() -> list[AnalyticModel]:
    """Return the ten networks with published exact values."""
    return [polynomial_network(layers, degree) for layers, degree in _CASES]
