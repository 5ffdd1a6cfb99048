"""E[tK] with most of its noise removed, by vector fields whose expectation is known to be zero.

For any smooth field v the density p ∝ exp(-U), U = tK + γ/2 |u|², satisfies E[div v - v·∇U] = 0 (Stein 1972), so
that columns c = div v - v·∇U may be subtracted from tK with any coefficients (Assaraf & Caffarel 1999). The fields
used here are those with v·∇K = K, or nearly, near one kind of zero set or another. For them tK + c = div v - γ v·u,
which is not random any more but a count: half the number of directions that K confines, at that particle.

* coordinates: v = u_i e_i. Exact for monomials and sums of them: v·∇K is a multiple of K.
* Newton: v = f(A) ∇U, A = tH + γ (see `newton_flow`). Exact in the limit near a smooth set of zeros of any
  codimension, however different the widths across it.
* tangential: v = (1 - f(A) A) u_i e_i, a coordinate's field without its part in confined directions. With Newton's,
  exact where K grows by different powers along a curved set of zeros: in the network Σ a_h tanh(b_h x) with Σ a_h b_h
  confined to t^-½, K falls with the scale of b only if Σ a_h b_h is held where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from samplers.analytic import Tempered
from samplers.moves import Particles
from samplers.newton_flow import Flow

_GAIN = 0.3  # a regression has to leave less of the variance: for less gain its tails are not worth having
_CHANCE = 1e-4  # that two means which are both right contradict each other: where they do, the noisier one is used
_RANK = 1e-13  # singular values below this, relative to the largest, are rounding


@dataclass(frozen=True)
class ControlledMean:
    """E[tK] for each group (G,), with the variances of one particle before and after control, and the check.

    `violation` is the largest |mean of a column| in units of its standard error over groups: for particles that have
    the density it claims, it is of order 1 to 3.
    """

    mean: np.ndarray
    raw_variance: float
    variance: float
    violation: float


def stein_columns(density: Tempered, particles: Particles, flow: Flow | None) -> list[Tensor]:
    """Sets of columns (N, q) of expectation zero to regress on, one at a time.

    Those of the coordinates and that of the flow; of the coordinates alone; the tangential ones and Newton's at
    their cut.
    """
    u, _, gradient = particles
    coordinates = 1 - u * (density.t * gradient + density.gamma * u)
    if flow is None:
        return [_finite(coordinates)]
    newton = flow.stein[:, None]
    sets = [torch.cat([coordinates, newton], 1), coordinates]
    if flow.tangent is not None:
        sets.append(flow.tangent)
    return [_finite(columns) for columns in sets]


def controlled_mean(energy: Tensor, sets: list[Tensor], groups: int) -> ControlledMean:
    """Regress tK (N,) on each set of columns (N, q), each group with the coefficients found in the others.

    Coefficients that owe nothing to the particles they are applied to leave the mean unbiased, and the groups
    independent but for the coefficients. Each set is regressed on twice: by least squares where every particle counts
    alike, and for as little as its columns are large. Columns have heavy tails; where large ones cancel, as those of a
    curved set of zeros do, plain least squares sees nothing else, and where norms cross, the flow's owes its mean to
    few particles. The result is that of least variance which contradicts neither the plain mean nor any of more
    variance: a regression that lacks its rare large columns has little variance too, and the wrong mean. Two
    contradict each other where their difference, over the groups, is beyond Student's quantile for `_CHANCE`.
    """
    y = energy.reshape(groups, -1)
    y_mean = y.mean(1)
    raw_variance = float((y - y_mean[:, None]).square().mean())
    found, violation = [], 0.0
    for columns in sets:
        x = columns / columns.abs().median(0).values.clamp(min=1e-300)
        x = torch.where(x.isfinite().all(-1, keepdim=True), x, 0.0).reshape(groups, y.shape[1], -1)
        for weight in (torch.ones_like(y), 1 / (1 + x.square().sum(-1))):
            residual = y - (x @ _coefficients(x, y, weight)[..., None])[..., 0]
            mean = residual.mean(1)
            variance = float((residual - mean[:, None]).square().mean())
            if variance < _GAIN * raw_variance:
                found.append((variance, mean))
        x_mean = x.mean(1)
        error = x_mean.std(0) / sqrt(groups)
        violation = max(violation, float((x_mean.mean(0).abs() / error.clamp(min=1e-12)).max()))
    found = [(raw_variance, y_mean), *sorted(found, key=lambda pair: -pair[0])]
    while _contradicted(found[-1][1], [mean for _, mean in found[:-1]]):
        found.pop()
    variance, mean = found[-1]
    return ControlledMean(mean.numpy(), raw_variance, variance, violation)


def _contradicted(mean: Tensor, others: list[Tensor]) -> bool:
    """Whether the mean (G,) differs from any other one by more than the scatter of their difference over groups."""
    quantile = float(stdtrit(len(mean) - 1, 1 - _CHANCE / 2))
    changes = [mean - other for other in others]
    return any(float(change.mean().abs()) > quantile * float(change.std()) / sqrt(len(mean)) for change in changes)


def _finite(columns: Tensor) -> Tensor:
    return torch.nan_to_num(columns, nan=0.0, posinf=0.0, neginf=0.0)


def _coefficients(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Weighted least squares with an intercept, (G, q): for each group that of all others."""
    root = weight.sqrt()[..., None]
    design = torch.cat([root, root * x], -1)
    target = root * y[..., None]
    scale = design.square().sum((0, 1)).sqrt().clamp(min=1e-150)
    others = [[i for i in range(len(x)) if i != group] for group in range(len(x))]
    # By singular values and not by normal equations: that large columns cancel has to be seen to the last digit.
    solutions = [
        torch.linalg.lstsq(
            (design[i] / scale).flatten(0, 1), target[i].flatten(0, 1), rcond=_RANK, driver="gelsd"
        ).solution[:, 0]
        for i in others
    ]
    return (torch.stack(solutions) / scale)[:, 1:]
