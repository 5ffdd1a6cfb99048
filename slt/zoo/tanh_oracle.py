"""Finite-t oracles of tanh networks on one true unit: f = Σ a_h tanh(b_h x) at b = (1, 1), a = (1, 0), truth tanh x.

Given b the potential is quadratic in a, which is integrated in closed form. What is left, one or two input
weights, has singularities where |b_h| is 0 or 1 and where two of them agree. The range is cut at those places
into ordered sectors, each of which is covered by the logarithms of the gaps.
"""

from __future__ import annotations

from itertools import permutations
from math import log, pi, sqrt

import numpy as np

from slt.zoo.model import Oracle
from slt.zoo.quadrature import Nodes, integrate

_STEP, _TAIL = 0.3, 18.0
_X, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_X, _WEIGHTS = (_X + 1) / 2, _WEIGHTS / 2  # x uniform on [0, 1]: the integrand is even


def on_one_true_unit(units: int) -> Oracle:
    """K = ½ E (Σ a_h tanh(b_h x) - tanh x)², x uniform on [-1, 1]; `units` is 1 or 2, the second one spare."""

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        parts = []
        for below in range(units + 1):
            magnitudes, measure = _sector(below, units - below, log_t, gamma)
            for order in permutations(range(units)):
                for sign in (1.0, -1.0):  # of the first input weight; flipping it flips its output weight
                    parts.append(_sector_nodes(magnitudes[:, order], measure, sign, log_t, gamma))
        log_weight, curvature, energy = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Nodes(log_weight, curvature, energy)

    return integrate(nodes_at)


def _sector(below: int, above: int, log_t: float, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes |b|, ascending, with `below` in (0, 1) and `above` in (1, ∞): (|b| (P, p), log weight (P,)).

    The gaps in (0, 1) add up to one and are a softmax of (0, u); those above are e^v.
    """
    low, high = -(log_t / 2 + _TAIL), log(30 / sqrt(gamma) + 1)
    axes = [np.arange(low, -low, _STEP)] * below + [np.arange(low, high, _STEP)] * above
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], 1)
    logits = np.concatenate([np.zeros((len(grid), 1)), grid[:, :below]], 1)
    log_gaps = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    inside = np.cumsum(np.exp(log_gaps[:, :-1]), 1)
    outside = 1 + np.cumsum(np.exp(grid[:, below:]), 1)
    jacobian = (log_gaps.sum(1) if below else 0.0) + grid[:, below:].sum(1)
    return np.concatenate([inside, outside], 1), jacobian + (below + above) * log(_STEP)


def _sector_nodes(
    magnitudes: np.ndarray, log_weight: np.ndarray, sign: float, log_t: float, gamma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log weights, curvatures and energies of a sector; column 0 is the unit whose output weight is centred at 1."""
    first, spare = magnitudes[:, 0], magnitudes[:, 1:]
    log_weight = log_weight - 0.5 * gamma * (sign * first - 1) ** 2 + 0.5 * magnitudes.shape[1] * log(gamma / (2 * pi))
    log_weight = log_weight + np.logaddexp(-0.5 * gamma * (spare - 1) ** 2, -0.5 * gamma * (spare + 1) ** 2).sum(1)
    keep = log_weight > -(1.5 * log_t + _TAIL + 10)
    features = np.tanh(magnitudes[keep][:, :, None] * _X) * np.sqrt(_WEIGHTS)  # (P, p, x)
    residual = sign * features[:, 0] - np.tanh(_X) * np.sqrt(_WEIGHTS)
    left, singular, _ = np.linalg.svd(features.transpose(0, 2, 1), full_matrices=False)  # (P, x, p), (P, p)
    along = np.einsum("nxp,nx->np", left, residual)
    across = residual - np.einsum("nxp,np->nx", left, along)
    energy = 0.5 * np.concatenate([along**2, (across**2).sum(1, keepdims=True)], 1)
    curvature = np.concatenate([singular**2 / gamma, np.zeros((len(singular), 1))], 1)
    return log_weight[keep], curvature, energy
