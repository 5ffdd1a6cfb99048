"""Integrals over a few variables on logarithmic scales, exact to many digits from t = 1 to t = 1e12.

Singular integrals live on all scales at once, so every variable is integrated in its logarithm. There the
integrands are analytic and decay exponentially on the left and double-exponentially on the right, and the
plain trapezoidal rule converges exponentially in 1/step (Trefethen & Weideman 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma, log

import numpy as np

from slt.zoo.model import Oracle

STEP = 0.2  # e^(-π²/STEP) is the trapezoidal error of the central densities below: far under rounding
PLANE_STEP = 0.3  # where two variables make a grid: e^(-33)
TAIL = 40.0  # integrals are cut where what is left is e^-TAIL of the whole


@dataclass(frozen=True)
class Nodes:
    """Quadrature nodes over some variables, with Gaussian integrals over the others done in closed form.

    At a node with weight e^log_weight the integrand is exp(-A), where with g the curvatures and e the
    energies

        A(t) = Σ_i [ (copies/2) log(1 + t g_i) + t e_i/(1 + t g_i) ].

    A node of tK itself is g = 0, e = K. A variable z ~ N(0, 1) that enters as K = e (1 + z √(g/2e))² has
    both. Shapes: log_weight (P,), curvature and energy (P, q).
    """

    log_weight: np.ndarray
    curvature: np.ndarray
    energy: np.ndarray
    copies: int = 1


def plain_nodes(log_weight: np.ndarray, potential: np.ndarray) -> Nodes:
    """Return nodes at which K is known, with nothing integrated in closed form."""
    return Nodes(log_weight, np.zeros((1, 1)), potential[:, None])


def gaussian_nodes(log_weight: np.ndarray, curvature: np.ndarray, copies: int = 1) -> Nodes:
    """Return nodes at which K is a centred quadratic form of eigenvalues `curvature` (P, q), `copies` times."""
    return Nodes(log_weight, curvature, np.zeros((1, 1)), copies)


def integrate(nodes_at: Callable[[float, float], Nodes]) -> Oracle:
    """Return the oracle of a model whose `nodes_at(log t_max, gamma)` cover all t in [0, t_max]."""

    def oracle(t: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        nodes = nodes_at(max(log(t.max()), 0.0), gamma)
        answers = [_sum_nodes(nodes, float(value)) for value in t]
        return np.array([answer[0] for answer in answers]), np.array([answer[1] for answer in answers])

    return oracle


def _sum_nodes(nodes: Nodes, t: float) -> tuple[float, float]:
    growth = t * nodes.curvature
    tilted = t * nodes.energy / (1 + growth)
    action = (0.5 * nodes.copies * np.log1p(growth) + tilted).sum(1)
    slope = (0.5 * nodes.copies * growth / (1 + growth) + tilted / (1 + growth)).sum(1)
    exponent = nodes.log_weight - action
    peak = exponent.max()
    weight = np.exp(exponent - peak)
    total = weight.sum()
    return float(peak + np.log(total)), float((weight * slope).sum() / total)


@dataclass(frozen=True)
class LogDensity:
    """Density of log X on the grid step·(first, first + 1, ...); times that of log Y it is that of log XY."""

    first: int
    step: float
    values: np.ndarray

    @property
    def grid(self) -> np.ndarray:
        """The values of log X at which the density is tabulated."""
        return self.step * (self.first + np.arange(len(self.values)))

    @property
    def log_weight(self) -> np.ndarray:
        """Log of density times step, the trapezoidal weights (-inf where the density underflows)."""
        with np.errstate(divide="ignore"):
            return np.log(self.values) + log(self.step)

    def __mul__(self, other: LogDensity) -> LogDensity:
        # A direct sum of positive terms keeps the relative accuracy of the far tail, which an FFT would lose.
        values = np.convolve(self.values, other.values) * self.step
        return LogDensity(self.first + other.first, self.step, values)


def tabulate(log_density: Callable[[np.ndarray], np.ndarray], low: float, high: float, step: float) -> LogDensity:
    """Tabulate a density given by its logarithm on [low, high], without ends that are e^-300 of its peak."""
    first = int(np.floor(low / step))
    values = log_density(step * np.arange(first, int(np.ceil(high / step)) + 1))
    inside = np.flatnonzero(values > values.max() - 300.0)
    return LogDensity(first + int(inside[0]), step, np.exp(values[inside[0] : inside[-1] + 1]))


def norm_density(dimension: int, power: float, low: float, step: float = STEP) -> LogDensity:
    """Density of x = log ‖v‖^power for v ~ N(0, I_d), from `low` up."""
    half = 2 / power  # x = (power/2) log χ²

    def log_density(x: np.ndarray) -> np.ndarray:
        y = half * x
        constant = log(half) - dimension / 2 * log(2) - lgamma(dimension / 2)
        return constant + dimension / 2 * y - np.exp(y) / 2

    return tabulate(log_density, low, log(2.0 * (TAIL * 10 + 3 * dimension)) / half, step)


def descending_logs(size: int, top: np.ndarray, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes over s_1 > ... > s_p > 0 through s_1 = e^u and s_{i+1} = s_i/(1 + e^(v_i)), u and v on uniform grids.

    The order is automatic and integrands with factors s_i - s_j stay analytic, as close to a tie as v is
    negative. Returns log s (P, p), the log weights of ds_1...ds_p (P,), and the gaps log s_i - log s_{i+1}
    (P, p-1).
    """
    axes = [axis.ravel() for axis in np.meshgrid(top, *[ratio] * (size - 1), indexing="ij")]
    gaps = [np.logaddexp(0.0, v) for v in axes[1:]]
    logs = [axes[0]]
    log_weight = axes[0] + log(top[1] - top[0])
    for v, gap in zip(axes[1:], gaps, strict=True):
        logs.append(logs[-1] - gap)
        log_weight = log_weight + logs[-1] - np.logaddexp(0.0, -v) + log(ratio[1] - ratio[0])
    return np.stack(logs, 1), log_weight, np.stack(gaps, 1) if gaps else np.empty((len(axes[0]), 0))
