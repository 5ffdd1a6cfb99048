"""The curves of a ladder over the inverse temperature: F(β), λ̂(β), its plateau, and λ̂ by regression on 1/β."""

from dataclasses import dataclass

import numpy as np

from slt.diagnostics import MeanSummary, summarize_mean
from slt.free_energies.methods import Array, FreeEnergies

FLAT = 0.05  # change of λ̂ per e-fold of β, relative to λ̂, up to which it counts as constant
PLATEAU_SPAN = float(np.log(5.0))  # e-folds of β over which it must be constant
REGRESSION_FACTOR = 2.0  # of β on either side of β*, and at least three rungs


@dataclass(frozen=True)
class Curve:
    """Per rung β > 0, arrays (R,): F(β) and λ̂(β) = nβ (E_β[L] - L*) with their errors, and the heat capacity.

    The heat capacity (nβ)² Var_β[L] is λ̂ - dλ̂/d log β: it equals λ̂ where the curve is flat.
    """

    beta: Array
    free_energy: Array
    free_energy_error: Array
    llc: Array
    llc_error: Array
    heat_capacity: Array

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists."""
        return {name: values.tolist() for name, values in vars(self).items()}


@dataclass(frozen=True)
class Plateau:
    """The longest stretch of β over which λ̂ is constant, and its mean there. `drift` is dλ̂/d log β over it."""

    low: float
    high: float
    llc: float
    std_error: float
    drift: float


@dataclass(frozen=True)
class Regression:
    """λ̂ and n L* from E_β[nL] = n L* + λ/β over rungs `low` <= β <= `high`, L* not needed (Watanabe 2013)."""

    low: float
    high: float
    llc: float
    std_error: float
    center_energy: float


def curve_of(v: Array, beta: Array, f: FreeEnergies) -> Curve:
    """The curves from V = n (L - L*) (replica, draw, R + 1) and the free energies of the rungs."""
    summaries = [summarize_mean(beta[k] * v[..., k]) for k in range(1, len(beta))]
    errors = [summarize_mean(f.influence[..., k]).std_error for k in range(1, len(beta))]
    return Curve(
        beta=beta[1:].copy(),
        free_energy=f.value[1:].copy(),
        free_energy_error=np.hypot(errors, f.discretization[1:]),
        llc=np.array([summary.mean for summary in summaries]),
        llc_error=np.array([summary.std_error for summary in summaries]),
        heat_capacity=beta[1:] ** 2 * v[..., 1:].var((0, 1)),
    )


def find_plateau(curve: Curve, v: Array) -> Plateau | None:
    """The longest stretch of at least a factor 5 in β over which a line through λ̂(log β) is flat and fits.

    Flat: its slope is at most 5% of λ̂ per e-fold. Fits: no rung is further from the mean than 5% or three errors. None
    where there is no such stretch: then λ̂ is a number at a scale, and its β belongs beside it.
    """
    x, y, error = np.log(curve.beta), curve.llc, np.maximum(curve.llc_error, 1e-12)
    best: tuple[float, int, int, float] | None = None
    for i in range(len(x)):
        for j in range(i + 2, len(x)):
            span = x[j] - x[i]
            if span < PLATEAU_SPAN or (best is not None and span <= best[0]):
                continue
            part = slice(i, j + 1)
            weight = error[part] ** -2 / (error[part] ** -2).sum()
            mean = float(weight @ y[part])
            centred = x[part] - weight @ x[part]
            slope = float((weight * centred) @ y[part] / (weight * centred) @ centred)
            near = np.abs(y[part] - mean) <= np.maximum(FLAT * abs(mean), 3 * error[part])
            if mean > 0 and abs(slope) <= FLAT * mean and near.all():
                best = span, i, j, slope
    if best is None:
        return None
    _, i, j, slope = best
    weight = error[i : j + 1] ** -2 / (error[i : j + 1] ** -2).sum()
    summary = summarize_mean((curve.beta[i : j + 1] * v[..., i + 1 : j + 2]) @ weight)
    return Plateau(float(curve.beta[i]), float(curve.beta[j]), summary.mean, summary.std_error, slope)


def regress(curve: Curve, v: Array, around: float, center_energy: float) -> Regression | None:
    """λ̂ as the slope of E_β[nL] against 1/β over the rungs within a factor 2 of `around`, at least three.

    Least squares with weights β², the inverse variances of E_β[nL] up to a factor. None with fewer than three rungs.
    The slope is a derivative: where λ̂(β) has no plateau it is the heat capacity rather than λ̂.
    """
    if len(curve.beta) < 3:
        return None
    distance = np.abs(np.log(curve.beta / around))
    chosen = np.flatnonzero(distance <= np.log(REGRESSION_FACTOR) + 1e-9)
    if len(chosen) < 3:
        chosen = np.sort(np.argsort(distance)[:3])
    beta = curve.beta[chosen]
    weight = beta**2 / (beta**2).sum()
    inverse = 1 / beta
    centred = inverse - weight @ inverse
    coefficients = weight * centred / ((weight * centred) @ centred)
    slope: MeanSummary = summarize_mean(v[..., chosen + 1] @ coefficients)
    mean_energy = weight @ v[..., chosen + 1].mean((0, 1))
    intercept = float(mean_energy - slope.mean * (weight @ inverse))
    return Regression(float(beta[0]), float(beta[-1]), slope.mean, slope.std_error, center_energy + intercept)
