"""What speaks against an estimate of (λ, m), in words."""

from __future__ import annotations

from math import sqrt

import numpy as np

from slt.rlct.annealed_ladder import MAX_ERROR, MAX_STAGES, MIN_STAGES, SETTLED, Climb
from slt.rlct.asymptotics import AsymptoticFit, half_height
from slt.rlct.estimate import VolumeEstimate

LAST_PART = 0.25  # of the ladder beyond half height, left out for a second look
CONTRADICTED = 0.01  # probability of the best m without the last part, below which the two say different things


def ladder_reasons(found: Climb, target: float | None = None) -> list[str]:
    """What ended the ladder, where it should have gone on: a tail too short can be fitted, and wrongly so."""
    where = f"the ladder ends at log t = {found.stages[-1].log_t:.0f}"
    ends = {
        "rounding": f"{where}: beyond it float64 does not resolve K, a difference of large numbers or far from 0",
        "ancestors": f"{where}: beyond it hardly any of the first particles have descendants, ask for more particles",
        "range": f"{where}, the end of float64's range",
        "stages": f"{where}, after {MAX_STAGES} stages",
        "time": f"{where}: max_seconds is over",
    }
    if found.tail >= 1:
        if target is None or found.stopped is None or found.stages[-1].log_t >= target:
            return []
        return [f"{ends[found.stopped]}: target_log_t = {target:g} was not reached"]
    chosen = "as target_log_t says" if target is not None else "far enough for the first particles alone"
    why = ends[found.stopped] if found.stopped else f"{where}, {chosen}"
    return [f"{why}: that is {found.tail:.0%} of the tail it takes, so that m and the error of λ may be far off"]


def fit_reasons(found: Climb, fit: AsymptoticFit, dimension: int) -> list[str]:
    """An m that is not settled, a λ that is not accurate, particles that do not mix."""
    reasons = []
    p = fit.probabilities
    if p[fit.best] < SETTLED:
        likely = ", ".join(f"{m} ({q:.2f})" for m, q in sorted(p.items(), key=lambda item: -item[1]) if q >= 0.05)
        reasons.append(f"m is not settled, probabilities: {likely}")
    mean, error = fit.overall()
    if error > MAX_ERROR * mean:
        reasons.append(f"relative error of λ {error / mean:.1%} is above {MAX_ERROR:.0%}: ask for more particles")
    shorter = _without_the_end(found, dimension)
    if shorter is not None and shorter.probabilities.get(fit.best, 0.0) < CONTRADICTED:
        reasons.append(
            f"the end of the ladder speaks for m = {fit.best} and what comes before it for m = {shorter.best}: "
            "particles have been lost on the way, or it has only just become long enough"
        )
    gap, gap_error = free_energy_gap(found, fit.onset)
    if abs(gap) > 4 * gap_error + 0.1:
        reasons.append(
            f"F and the integral of E[tK] differ by {gap:.2f} ± {gap_error:.2f} nats: the particles do not mix"
        )
    return reasons


def _without_the_end(found: Climb, dimension: int) -> AsymptoticFit | None:
    """The fit without the last part of the ladder; None where that leaves too little.

    Not of the fit's own tail: where the end has gone wrong, the fit may see nothing but that end.
    """
    log_t, groups = found.slopes
    half = half_height(log_t, groups.mean(0))
    end = half + (1 - LAST_PART) * (log_t[-1] - half)
    return found.fitted(dimension, end) if (log_t <= end).sum() >= MIN_STAGES else None


def free_energy_gap(found: Climb, onset: float) -> tuple[float, float]:
    """F(end) - F(onset) - ∫ E[tK] d log t by the trapezoidal rule, with its standard error over groups."""
    log_t, groups = found.slopes
    tail = log_t >= onset
    energy = groups[:, tail]
    free_energy = -np.stack([stage.log_z for stage in found.stages], 1)[:, tail]
    integral = (0.5 * (energy[:, 1:] + energy[:, :-1]) * np.diff(log_t[tail])).sum(1)
    gap = free_energy[:, -1] - free_energy[:, 0] - integral
    return float(gap.mean()), float(gap.std(ddof=1) / sqrt(len(gap)))


def volume_reasons(fit: AsymptoticFit, volumes: VolumeEstimate | None) -> list[str]:
    """Where annealing and volumes do not say the same."""
    if volumes is None:
        return ["the volume of {K < ε} could not be followed far enough for a second opinion"]
    mean, error = fit.given(fit.best)
    gap = abs(volumes.learning_coefficient - mean)
    if gap > 3 * sqrt(error**2 + volumes.std_error**2) + 0.01 * mean:
        said = (
            f"annealing and volumes disagree: λ = {mean:.4f} ± {error:.2g} and {volumes.learning_coefficient:.4f} ± "
            f"{volumes.std_error:.2g} given m = {fit.best}"
        )
        end = -volumes.log_epsilon[-1]
        if end < fit.onset:  # 33 nats of volume are few units of log ε where λ is large
            said += f", but the volumes end at log 1/ε = {end:.0f}, and what decays has decayed from {fit.onset:.0f} on"
        return [said]
    if volumes.multiplicity_probabilities.get(fit.best, 0.0) < 0.01:
        return [f"annealing and volumes disagree: by volumes m = {fit.best} has probability below 0.01"]
    return []
