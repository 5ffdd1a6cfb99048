"""E[tK] with most of its noise removed, by vector fields whose expectation is known to be zero.

For any smooth field v the density p ∝ exp(-U), U = tK + γ/2 |u|², satisfies E[div v - v·∇U] = 0 (Stein 1972), so
that columns c = div v - v·∇U may be subtracted from tK with any coefficients (Assaraf & Caffarel 1999). The fields
used here are those with v·∇K = K, or nearly, near one kind of zero set or another. For them tK + c = div v - γ v·u,
which is not random any more but a count: half the number of directions that K confines, at that particle.

* coordinates: v = u_i e_i. Exact for monomials and sums of them: v·∇K is a multiple of K.
* Newton: v = f(A) ∇U, A = tH + γ (see `newton_flow`). Exact in the limit near a smooth set of zeros of any
  codimension, however different the widths across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from samplers.analytic import Tempered
from samplers.moves import Particles
from samplers.newton_flow import Flow

_RIDGE = 1e-6


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


def stein_columns(density: Tempered, particles: Particles, flow: Flow | None) -> Tensor:
    """Columns (N, q) of expectation zero: those of the coordinates, and that of the flow where there is one."""
    u, _, gradient = particles
    columns = [1 - u * (density.t * gradient + density.gamma * u)]
    if flow is not None:
        columns.append(flow.stein[:, None])
    return torch.nan_to_num(torch.cat(columns, 1), nan=0.0, posinf=0.0, neginf=0.0)


def controlled_mean(energy: Tensor, columns: Tensor, groups: int) -> ControlledMean:
    """Regress tK (N,) on the columns (N, q), each group with the coefficients found in the others.

    Coefficients that owe nothing to the particles they are applied to leave the mean unbiased, and the groups
    independent but for the coefficients. Where control does not pay, or where its means contradict the plain ones by
    four standard errors of their difference (the particles have not found the density), the plain means are returned.
    """
    y = energy.reshape(groups, -1)
    x = (columns / columns.std(0).clamp(min=1e-300)).reshape(groups, y.shape[1], -1)
    x_mean, y_mean = x.mean(1), y.mean(1)
    x_in, y_in = x - x_mean[:, None], y - y_mean[:, None]
    gram, moment = x_in.mT @ x_in, (x_in.mT @ y_in[..., None])[..., 0]
    ridge = _RIDGE * y.numel() * torch.eye(x.shape[-1], dtype=x.dtype)
    coefficients = torch.linalg.solve(gram.sum(0) - gram + ridge, moment.sum(0) - moment)
    mean = y_mean - (x_mean * coefficients).sum(-1)
    variance = float((y_in - (x_in @ coefficients[..., None])[..., 0]).square().mean())
    raw_variance = float(y_in.square().mean())
    error = x_mean.std(0) / sqrt(groups)
    violation = float((x_mean.mean(0).abs() / error.clamp(min=1e-12)).max())
    change = mean - y_mean
    contradicted = float(change.mean().abs()) > 4 * float(change.std()) / sqrt(groups)
    if not variance < raw_variance or contradicted or not bool(mean.isfinite().all()):
        mean, variance = y_mean, raw_variance
    return ControlledMean(mean.numpy(), raw_variance, variance, violation)
