"""One-hidden-layer networks Σ_h a_h σ(b_h x) on one input, σ = tanh or relu, as potentials and as networks.

Parameters are in the network's order: input weights b, then output weights a.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lgamma, log, pi, sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from slt.exact import families
from slt.exact.rlct import RLCT
from slt.zoo import oracles
from slt.zoo.model import AnalyticModel, Oracle, RegressionModel
from slt.zoo.overparameterized import uniform_inputs
from slt.zoo.quadrature import PLANE_STEP, TAIL, Nodes, descending_logs, gaussian_nodes, integrate, norm_density
from slt.zoo.tanh_oracle import on_one_true_unit

_HALF_NODES, _HALF_WEIGHTS = (
    (np.polynomial.legendre.leggauss(32)[0] + 1) / 2,
    np.polynomial.legendre.leggauss(32)[1] / 2,
)


def _network(units: int, activation: Callable[[], nn.Module]) -> nn.Module:
    first = skip_init(nn.Linear, 1, units, bias=False, dtype=torch.float64)
    last = skip_init(nn.Linear, units, 1, bias=False, dtype=torch.float64)
    return nn.Sequential(first, activation(), last)


def _single_layer(
    name: str,
    activation: Callable[[], nn.Module],
    center: Sequence[float],
    rlct: RLCT,
    oracle: Oracle | None,
    note: str = "",
) -> AnalyticModel:
    """K = ½ E (f - f*)² over x uniform on [-1, 1], by 32 Gauss-Legendre nodes on each side of zero.

    Where the activation is odd, so is f - f*, and one side says it all.
    """
    point = torch.tensor(list(center), dtype=torch.float64)
    units = len(point) // 2
    squash = activation()
    x, weights = torch.tensor(_HALF_NODES), torch.tensor(_HALF_WEIGHTS)
    if not torch.equal(squash(-x), -squash(x)):
        x, weights = torch.cat([-x, x]), torch.cat([weights, weights]) / 2

    def output(w: Tensor) -> Tensor:
        b, a = w[..., :units], w[..., units:]
        return (a[..., None] * squash(b[..., None] * x)).sum(-2)

    truth = output(point)

    def potential(w: Tensor) -> Tensor:
        return 0.5 * ((output(w) - truth).square() * weights).sum(-1)

    group = name.split("-")[0]
    regression = RegressionModel(name, group, point, rlct, lambda: _network(units, activation), uniform_inputs)
    return AnalyticModel(name, group, 2 * units, potential, point, rlct, oracle, regression, note)


def _tanh_nodes(units: int) -> Oracle:
    """Truth zero: given b the output weights are Gaussian, Z = E_b det(1 + (t/γ) G(b))^(-½), G = E tanh tanh.

    By symmetry b_1 > ... > b_p > 0.
    """
    # The determinant of three units goes like b^10, so that its logarithm turns over within π/10 of log b
    top_step, ratio_step, tail = 0.15, 0.35, 16.0

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        lowest, highest = -(tail + log_t) / units - 0.5 * max(log(gamma), 0.0), log(40 / sqrt(gamma))
        reach = tail + log_t / 6  # λ of one unit more is larger by 1/6
        ratio = ratio_step * np.arange(int(-reach / ratio_step), int(reach / ratio_step) + 1)
        logs, log_weight, _ = descending_logs(units, np.arange(lowest, highest, top_step), ratio)
        b = np.exp(logs)
        log_weight = log_weight - 0.5 * gamma * (b**2).sum(1) + 0.5 * units * log(2 * gamma / pi)
        log_weight = log_weight + lgamma(units + 1)
        keep = log_weight > log_weight.max() - tail - log_t
        return gaussian_nodes(log_weight[keep], _tanh_gram_eigenvalues(b[keep]) / gamma)

    return integrate(nodes_at)


def _tanh_gram_eigenvalues(b: np.ndarray) -> np.ndarray:
    """Eigenvalues (P, p) of G_ij = E tanh(b_i x) tanh(b_j x), x uniform on [0, 1].

    As squared singular values of the features: those of three units go like b², b⁶ and b¹⁰, and in G itself the small
    ones would be rounding of the large.
    """
    values = np.empty_like(b)
    for start in range(0, len(b), 100_000):
        features = np.tanh(b[start : start + 100_000, :, None] * _HALF_NODES) * np.sqrt(_HALF_WEIGHTS)
        values[start : start + 100_000] = np.linalg.svd(_triangular(features), compute_uv=False) ** 2
    return values


def _triangular(rows: np.ndarray) -> np.ndarray:
    """R (P, p, p) of rows = R Q with orthonormal rows Q, by modified Gram-Schmidt over a batch (P, p, nodes)."""
    rest = rows.copy()
    size = rows.shape[1]
    lower = np.zeros((len(rows), size, size))
    for i in range(size):
        norm = np.linalg.norm(rest[:, i], axis=-1, keepdims=True)
        unit = rest[:, i] / np.maximum(norm, np.finfo(float).tiny)
        lower[:, i:, i] = (rest[:, i:] * unit[:, None]).sum(-1)
        rest[:, i:] -= lower[:, i:, i, None] * unit[:, None]
    return lower


def _relu_pair() -> Oracle:
    """Two units, truth zero: half of the mass has b of equal signs and a Gram matrix of rank one."""

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        density = norm_density(1, 2.0, -2 * log_t - 2 * TAIL + 2 * log(min(gamma, 1.0)), PLANE_STEP)
        x, y = (np.exp(axis.ravel()) / (6 * gamma**2) for axis in np.meshgrid(density.grid, density.grid))
        log_weight = np.add.outer(density.log_weight, density.log_weight).ravel() - log(2)
        equal, opposite = np.stack([x + y, np.zeros_like(x)], 1), np.stack([x, y], 1)
        return gaussian_nodes(np.concatenate([log_weight, log_weight]), np.concatenate([equal, opposite]))

    return integrate(nodes_at)


def _relu_on_truth() -> Oracle:
    """One unit at a = b = 1: K = (ab - 1)²/12 for b > 0 and (1 + (ab)²)/12 for b < 0; a is Gaussian given b."""

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        low = -log_t / 2 - TAIL + min(log(gamma), 0.0)
        plus, minus = oracles.signed_density(1.0, 1 / sqrt(gamma), low, min(0.2, 0.5 / sqrt(gamma)))
        b = np.concatenate([np.exp(plus.grid), -np.exp(minus.grid)])
        residual = np.where(b > 0, (b - 1) ** 2, b**2) / 12
        curvature = np.stack([b**2 / (6 * gamma), np.zeros_like(b)], 1)
        energy = np.stack([residual, np.where(b > 0, 0.0, 1 / 12)], 1)
        return Nodes(np.concatenate([plus.log_weight, minus.log_weight]), curvature, energy)

    return integrate(nodes_at)


def models() -> list[AnalyticModel]:
    """Return tanh networks of one to three units at truth zero and on one true unit, and three relu networks."""
    note = "the spare units sit on the true one, where λ is smallest"
    zero = [
        _single_layer(f"tanh-{p}", nn.Tanh, [0.0] * (2 * p), families.tanh_network(p), _tanh_nodes(p))
        for p in (1, 2, 3)
    ]
    unit = [
        _single_layer(
            f"tanh-{p}-on-1",
            nn.Tanh,
            [1.0] * (p + 1) + [0.0] * (p - 1),
            families.tanh_network(p, 1),
            on_one_true_unit(p) if p < 3 else None,
            note if p > 1 else "",
        )
        for p in (1, 2, 3)
    ]
    crossing = oracles.product_of_norms([1, 1], [2, 2], 1 / 12)
    relu = [
        _single_layer("relu-1", nn.ReLU, [0.0] * 2, families.relu_network(1), crossing),
        _single_layer("relu-2", nn.ReLU, [0.0] * 4, families.relu_network(2), _relu_pair()),
        _single_layer("relu-1-on-1", nn.ReLU, [1.0, 1.0], families.relu_network(1, 1), _relu_on_truth()),
    ]
    return zero + unit + relu
