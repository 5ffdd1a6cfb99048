"""Continuous piecewise-linear curves through points with known errors: where to put the knots, and how many."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _Sums:
    """Running sums of w, wx, wx², wy, wxy, wy² over the points, with a 0 in front; x measured from the first."""

    w: np.ndarray
    wx: np.ndarray
    wxx: np.ndarray
    wy: np.ndarray
    wxy: np.ndarray
    wyy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> "_Sums":
        return cls(
            *(np.concatenate([[0.0], term.cumsum()]) for term in (w, w * x, w * x * x, w * y, w * x * y, w * y * y))
        )

    def piece(self, x: np.ndarray, start: np.ndarray, end: int) -> tuple[np.ndarray, ...]:
        """Coefficients of Σ w (y - p(1-u) - q u)², u = (x - x_start)/(x_end - x_start), over the points after `start`
        up to `end`: of q², pq, p², q, p and 1, each (S,) for S starts."""
        w, wx, wxx, wy, wxy, wyy = (
            total[end + 1] - total[start + 1] for total in (self.w, self.wx, self.wxx, self.wy, self.wxy, self.wyy)
        )
        length = x[end] - x[start]
        wu = (wx - w * x[start]) / length
        wuu = (wxx - 2 * wx * x[start] + w * x[start] ** 2) / length**2
        wuy = (wxy - wy * x[start]) / length
        return wuu, 2 * (wu - wuu), w - 2 * wu + wuu, -2 * wuy, -2 * (wy - wuy), wyy


def fit_knots(x: np.ndarray, y: np.ndarray, error: np.ndarray, penalty: float) -> list[int]:
    """Indices of the interior knots of the continuous piecewise-linear curve f that minimizes

        Σ ((y - f(x)) / error)² + penalty · (number of interior knots),

    the knots being among the x (n,), which increase. Exact: the least cost of the points up to a knot, as a function of
    the curve's value there, is the lower envelope of parabolas, one for each way of getting there that can still be
    best (dynamic programming over functions, as in Fearnhead, Maidstone & Letchford 2019).
    """
    count = len(x)
    if count < 3:
        return []
    x = (x - x[0]) / (x[-1] - x[0])
    middle, scale = y.mean(), np.ptp(y) or 1.0
    y, weight = (y - middle) / scale, (scale / error) ** 2
    sums = _Sums.of(x, y, weight)
    low, high = y.min() - 1, y.max() + 1  # where the curve may pass at a knot
    knot = np.zeros(1, dtype=int)
    parent = np.full(1, -1)
    square, linear, constant = (
        np.array([weight[0]]),
        np.array([-2 * weight[0] * y[0]]),
        np.array([weight[0] * y[0] ** 2]),
    )
    for end in range(1, count):
        qq, pq, pp, q, p, one = (term[knot] for term in sums.piece(x, np.arange(end), end))
        curvature = square + pp
        a = qq - pq**2 / (4 * curvature)
        b = q - pq * (linear + p) / (2 * curvature)
        c = constant + one - (linear + p) ** 2 / (4 * curvature) + penalty * (knot > 0)
        if end == count - 1:
            path, entry = [], int(np.argmin(c - b**2 / (4 * np.maximum(a, 1e-300))))
            while knot[entry] > 0:
                path.append(int(knot[entry]))
                entry = parent[entry]
            return path[::-1]
        best = _lower_envelope(a, b, c, low, high)
        parent = np.concatenate([parent, best])
        knot = np.concatenate([knot, np.full(len(best), end)])
        square, linear, constant = (
            np.concatenate([old, new[best]]) for old, new in ((square, a), (linear, b), (constant, c))
        )
    raise AssertionError("the last point ends the loop")


def _lower_envelope(a: np.ndarray, b: np.ndarray, c: np.ndarray, low: float, high: float) -> np.ndarray:
    """Which of the parabolas az² + bz + c are lowest somewhere in [low, high]."""
    at, current = low, int(np.argmin((a * low + b) * low + c))
    found = [current]
    while True:
        da, db, dc = a - a[current], b - b[current], c - c[current]
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(db**2 - 4 * da * dc)
            # of the difference to the current one, the crossing from above to below: where it falls through 0
            crossing = np.where(np.abs(da) > 1e-12 * (np.abs(a) + 1e-300), (-db - root) / (2 * da), -dc / db)
        crossing = np.where((crossing > at) & (crossing < high), crossing, np.inf)
        crossing[current] = np.inf
        following = int(np.argmin(crossing))
        if not math.isfinite(crossing[following]):
            return np.unique(found)
        at, current = float(crossing[following]), following
        found.append(current)
