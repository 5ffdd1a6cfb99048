"""How finely float64 resolves a potential: by the spacing of points, and by rounding in its evaluation."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, log, sqrt

import torch
from torch import Tensor

_ORDER = 6  # of the differences that are taken for noise
_FURTHEST, _NEAREST = 0.02, 1e-17  # steps, as shares of the direction
_HALVINGS = 7  # of the logarithm of the step
_SHARE, _DEVIATIONS = 0.9, 1.645  # of points that say how large errors are; of |errors| below so many deviations


def granularity(function: Callable[[Tensor], Tensor], point: Tensor, up: Tensor) -> Tensor:
    """|ΔK| (N,) when every coordinate of the points (N, d) moves to a neighbouring float64, `up` (N, d) or down."""
    moved = torch.nextafter(point, torch.where(up, torch.inf, -torch.inf).to(point.dtype))
    with torch.no_grad():
        return (function(moved) - function(point)).abs()


def evaluation_noise(
    function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor, change: float = 0.5
) -> float:
    """Standard deviation of the rounding errors in K, at most what it is in nine tenths of the points (N, d).

    From K at seven points in a row, whose sixth difference is all but nothing for a smooth function, and for errors
    that are independent has 924 times their variance (Moré & Wild 2011). They lie along `direction` (N, d), equally
    spaced to the last bit, so far apart that K changes by up to `change` of itself: errors at points too close are the
    same. Where K is so steep that it has a sixth difference of its own, that is a large one, and at few of the points:
    hence not their root mean square. Differences that are no numbers count as infinite.
    """
    with torch.no_grad():
        here = function(point)

        def along(log_step: Tensor) -> Tensor:
            step = (point + log_step.exp()[:, None] * direction) - point
            return torch.stack([here, *(function(point + i * step) for i in range(1, _ORDER + 1))])

        def near(log_step: Tensor) -> Tensor:
            return ((along(log_step) - here).abs() <= change * here.abs()).all(0)

        high = torch.full_like(here, log(_FURTHEST))
        low = torch.where(near(high), high, log(_NEAREST))
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            fits = near(middle)
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
        difference = along(low).diff(n=_ORDER, dim=0)[0].abs().nan_to_num(nan=torch.inf)
    return float(difference.quantile(_SHARE)) / _DEVIATIONS * factorial(_ORDER) / sqrt(factorial(2 * _ORDER))
