"""Finite-t oracles: quadratics, products of norms or minus a truth, reduced rank, disjoint sums."""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma, log, pi, sqrt

import numpy as np

from slt.zoo.model import Oracle
from slt.zoo.quadrature import (
    PLANE_STEP,
    STEP,
    TAIL,
    LogDensity,
    Nodes,
    descending_logs,
    gaussian_nodes,
    integrate,
    norm_density,
    plain_nodes,
    tabulate,
)


def quadratic(curvature: Sequence[float] | np.ndarray) -> Oracle:
    """K = ½ Σ h_i (w_i - center_i)²: E[tK] = ½ Σ t h_i/(t h_i + γ), F = ½ Σ log(1 + t h_i/γ)."""
    h = np.asarray(curvature, dtype=np.float64)

    def oracle(t: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        growth = t[:, None] * h / gamma
        return -0.5 * np.log1p(growth).sum(1), 0.5 * (growth / (1 + growth)).sum(1)

    return oracle


def sum_of(*parts: Oracle) -> Oracle:
    """K = Σ K_i over disjoint variables: log Z and E[tK] add."""

    def oracle(t: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        answers = [part(t, gamma) for part in parts]
        return sum(a[0] for a in answers), sum(a[1] for a in answers)  # type: ignore[return-value]

    return oracle


def product_of_norms(dimensions: Sequence[int], powers: Sequence[float], scale: float = 1.0) -> Oracle:
    """K = scale ∏ ‖v_i‖^(p_i) with v_i in R^(d_i), centred at zero; monomials are d_i = 1.

    The density of log K is the convolution of those of p_i log ‖v_i‖. K is homogeneous, so γ only rescales t.
    """
    smallest = min(d / p for d, p in zip(dimensions, powers, strict=True))

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        log_scale = log(scale) - 0.5 * sum(powers) * log(gamma)
        low = -max(log_t + log_scale, 0.0) - TAIL / smallest
        density = norm_density(dimensions[0], powers[0], low)
        for dimension, power in zip(dimensions[1:], powers[1:], strict=True):
            density = density * norm_density(dimension, power, low)
        return plain_nodes(density.log_weight, np.exp(density.grid + log_scale))

    return integrate(nodes_at)


def product_minus_truth(center: Sequence[float], scale: float = 1.0) -> Oracle:
    """K = scale (∏ w_j - ∏ center_j)² with w_j ~ N(center_j, 1/γ).

    One variable is integrated in closed form given the product q of the others; q = ± e^x has a density by
    convolution of the densities of log |w_j|, one for each sign.
    """
    order = sorted(range(len(center)), key=lambda j: abs(center[j]))
    pivot, others = center[order[0]], [center[j] for j in order[1:]]
    truth = float(np.prod(center))

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        if not others:
            return Nodes(np.zeros(1), np.full((1, 1), 2 * scale / gamma), np.zeros((1, 1)))
        width = 1 / sqrt(gamma)
        step = min(STEP, 0.5 * width / max(abs(mu) for mu in center) if any(center) else STEP)
        low = log(width) - max(0.5 * (log_t + log(scale) - len(center) * log(gamma)), 0.0) - TAIL
        plus, minus = signed_density(others[0], width, low, step)
        for mu in others[1:]:
            p, m = signed_density(mu, width, low, step)
            plus, minus = _mixture(plus * p, minus * m), _mixture(plus * m, minus * p)
        q = np.concatenate([np.exp(plus.grid), -np.exp(minus.grid)])
        log_weight = np.concatenate([plus.log_weight, minus.log_weight])
        return Nodes(log_weight, (2 * scale * q**2 / gamma)[:, None], (scale * (q * pivot - truth) ** 2)[:, None])

    return integrate(nodes_at)


def sum_times_square() -> Oracle:
    """K = (w1² + w2⁴) w3²: given w1 and w2 the third variable is Gaussian."""

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        low = -max(log_t - 2 * log(gamma), 0.0) - 4 * TAIL
        square, fourth = norm_density(1, 2, low, PLANE_STEP), norm_density(1, 4, low, 2 * PLANE_STEP)
        x, y = np.meshgrid(square.grid, fourth.grid, indexing="ij")
        log_weight = square.log_weight[:, None] + fourth.log_weight[None, :]
        curvature = 2 * (np.exp(x) / gamma + np.exp(y) / gamma**2) / gamma
        return gaussian_nodes(log_weight.ravel(), curvature.reshape(-1, 1))

    return integrate(nodes_at)


def signed_density(mean: float, width: float, low: float, step: float) -> tuple[LogDensity, LogDensity]:
    """Densities of log |w| on w > 0 and on w < 0, for w ~ N(mean, width²)."""
    high = log(abs(mean) + 30 * width)

    def side(sign: float) -> LogDensity:
        return tabulate(
            lambda x: x - 0.5 * ((sign * np.exp(x) - mean) / width) ** 2 - 0.5 * log(2 * pi) - log(width),
            low,
            high,
            step,
        )

    return side(1.0), side(-1.0)


def _mixture(a: LogDensity, b: LogDensity) -> LogDensity:
    """Return the sum of two densities on a common grid."""
    first = min(a.first, b.first)
    values = np.zeros(max(a.first + len(a.values), b.first + len(b.values)) - first)
    for part in (a, b):
        values[part.first - first : part.first - first + len(part.values)] += part.values
    return LogDensity(first, a.step, values)


def wishart_nodes(size: int, degrees: int, log_t: float, step: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Nodes over the eigenvalues of a real Wishart matrix, p = size <= degrees: (log weight (P,), s (P, p)).

    The density of s_1 > ... > s_p is ∝ ∏ s_i^((ν-p-1)/2) e^(-s_i/2) ∏_{i<j} (s_i - s_j) (Muirhead 1982,
    theorem 3.2.18).
    """
    highest = log(2 * (10 * TAIL + 3 * degrees))
    lowest = -2 * TAIL / (size * degrees) - log_t  # all eigenvalues below e^u weigh e^(u p ν/2)
    smallest = 2 * TAIL / (degrees - size + 1) + log_t  # one eigenvalue e^-v times the next e^(-v (ν-p+1)/2)
    top = step * np.arange(int(lowest / step), int(highest / step) + 1)
    ratio = step * np.arange(int(-TAIL / 2 / step), int(smallest / step) + 1)
    logs, log_weight, gaps = descending_logs(size, top, ratio)
    s = np.exp(logs)
    log_weight = log_weight + 0.5 * (degrees - size - 1) * logs.sum(1) - 0.5 * s.sum(1)
    for i in range(size):
        for j in range(i + 1, size):
            log_weight = log_weight + logs[:, i] + np.log(-np.expm1(-gaps[:, i:j].sum(1)))
    constant = 0.5 * size * degrees * log(2) - 0.5 * size * size * log(pi)
    constant += _log_gamma(size, degrees / 2) + _log_gamma(size, size / 2)
    return log_weight - constant, s


def _log_gamma(size: int, argument: float) -> float:
    """Multivariate log Γ_p(a) = p(p-1)/4 log π + Σ_j log Γ(a - j/2)."""
    return size * (size - 1) / 4 * log(pi) + sum(lgamma(argument - j / 2) for j in range(size))


def rank_zero_regression(inputs: int, hidden: int, outputs: int) -> Oracle:
    """K = ½ ‖BA‖² with A: H×M and B: N×H centred at zero; min(M, H, N) = 1 or 2 keeps it cheap.

    Given A the matrix B is Gaussian: Z = E_A det(1 + (t/γ) A Aᵀ)^(-N/2), an integral over the eigenvalues of
    a Wishart matrix. Transposing the product exchanges M and N, and the smaller integral is taken.
    """
    given, integrated = sorted((inputs, outputs))
    size, degrees = min(hidden, given), max(hidden, given)

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        log_weight, s = wishart_nodes(size, degrees, max(log_t - 2 * log(gamma), 0.0))
        return gaussian_nodes(log_weight, s / gamma**2, integrated)

    return integrate(nodes_at)
