"""The verdict on a ladder: whether its methods agree, what is wrong with it, whether its free energy can be used."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samplers.ladder_trace import LadderTrace
from slt.diagnostics import MeanSummary, summarize_mean
from slt.free_energies.methods import Array, FreeEnergies
from slt.free_energies.temperature_curve import Curve, Regression
from slt.llc.estimate import Status
from slt.llc.verdict import BELOW_CENTER_NATS, BELOW_CENTER_SHARE, HOPELESS_RHAT, MAX_RHAT, MIN_ESS

MAX_REJECTION = 0.9  # of an exchange: above it neighbouring rungs hardly overlap
MAX_DISAGREEMENT = 4.0  # standard errors of the difference between two methods
NOTABLE_GAP = 0.05  # of λ̂, between its regression and its mean
IMMATERIAL = 0.01  # nats: a smaller difference between two methods is none


@dataclass(frozen=True)
class MethodReading:
    """F at the top of the ladder by one method; the error includes what discretization adds.

    `gap` is its difference to the first method, `gap_error` the error of that: both come from the same draws, so the
    difference is known better than either.
    """

    method: str
    summary: MeanSummary
    std_error: float
    gap: float
    gap_error: float


def read_methods(answers: list[FreeEnergies]) -> list[MethodReading]:
    """F at the top by every method, each held against the first."""
    readings, first = [], answers[0]
    for answer in answers:
        summary = summarize_mean(answer.value[-1] + answer.influence[..., -1])
        coarse = float(answer.discretization[-1])
        if answer.influence.shape == first.influence.shape:
            difference = summarize_mean(answer.influence[..., -1] - first.influence[..., -1]).std_error
        else:  # one of them used only some of the draws
            difference = float(np.hypot(summary.std_error, summarize_mean(first.influence[..., -1]).std_error))
        readings.append(
            MethodReading(
                answer.method,
                summary,
                float(np.hypot(summary.std_error, coarse)),
                float(answer.value[-1] - first.value[-1]),
                0.0 if answer is first else float(np.hypot(difference, coarse)),
            )
        )
    return readings


def judge_ladder(
    trace: LadderTrace,
    v: Array,
    readings: list[MethodReading],
    wanted: float,
    stopped: str | None,
    concerns: Sequence[str] = (),
) -> tuple[Status, list[str]]:
    """Status and reasons. 'failed': there is no usable number; 'warning': there is one, with what stands against it.

    `v` is n (L - L*) after warm-up, `wanted` the error asked for, `stopped` the budget that ended the run before it,
    `concerns` further reasons for a warning.
    """
    failed, warnings = [], list(concerns)
    head = readings[0]
    summary = head.summary
    if trace.replicas == 1:
        warnings.append("a single replica cannot show disagreement between replicas: use at least 4 chains")
    if not np.isfinite(summary.std_error):
        failed.append(f"{trace.draws} draws after warm-up are too few for an error: ask for more draws")
    else:
        if summary.rhat > MAX_RHAT:
            reason = f"the replicas disagree: R-hat {summary.rhat:.3f} > {MAX_RHAT}: ask for more draws"
            (failed if summary.rhat > HOPELESS_RHAT else warnings).append(reason)
        if summary.ess < MIN_ESS:
            warnings.append(f"too few effective draws: ESS {summary.ess:.0f} < {MIN_ESS:.0f}: ask for more draws")
        if head.std_error > wanted:
            cause = f" ({stopped})" if stopped else ""
            warnings.append(f"the error of {head.std_error:.2g} nats is above the target of {wanted:.2g}{cause}")
    for other in readings[1:]:
        if abs(other.gap) > max(MAX_DISAGREEMENT * other.gap_error, IMMATERIAL):
            warnings.append(
                f"{other.method} and {head.method} differ by {other.gap:.2g} ± {other.gap_error:.2g} nats: the "
                "rungs do not overlap enough or the draws are too few"
            )
    worst = int(trace.rejection.argmax())
    if trace.rejection[worst] > MAX_REJECTION:
        low, high = trace.beta[worst : worst + 2]
        warnings.append(
            f"{trace.rejection[worst]:.0%} of the exchanges between beta = {low:.3g} and {high:.3g} are refused: the "
            "loss drops there all at once, and F across it rests on few draws"
        )
    warnings += _below(trace, v)
    return ("failed" if failed else "warning" if warnings else "ok"), failed + warnings


def regression_reasons(regression: Regression | None, curve: Curve, around: float) -> list[str]:
    """Where λ̂ by regression on 1/β, which needs no L(w*), is above the paired mean nβ (E[L] - L(w*)) at β = `around`.

    An L(w*) that is not the lowest loss of the region lowers the mean and leaves the slope as it is. A slope *below*
    the mean is no contradiction: λ̂ grows with β then, as it does wherever there is no plateau.
    """
    if regression is None:
        return []
    k = int(np.abs(np.log(curve.beta / around)).argmin())
    mean, error = float(curve.llc[k]), float(np.hypot(regression.std_error, curve.llc_error[k]))
    gap = regression.llc - mean
    if gap <= max(MAX_DISAGREEMENT * error, NOTABLE_GAP * abs(mean)):
        return []
    by_slope, by_mean = f"{regression.llc:.4g} ± {regression.std_error:.2g}", f"{mean:.4g} ± {curve.llc_error[k]:.2g}"
    return [
        f"llc by regression over temperatures, {by_slope}, is above the paired mean {by_mean} at beta = "
        f"{curve.beta[k]:.3g}: L(w*) is not the lowest loss of the region, so w* is not a local minimum: train "
        "further, use a larger gamma, or read llc off the regression"
    ]


def _below(trace: LadderTrace, v: Array) -> list[str]:
    """What it means that the chains find losses below L(w*)."""
    share = (trace.beta * v < -BELOW_CENTER_NATS).mean((0, 1))
    found = np.flatnonzero(share > BELOW_CENTER_SHARE)
    if len(found) == 0:
        return []
    return [
        f"from beta = {trace.beta[found[0]]:.3g} on chains find losses below L(w*): w* is not a local minimum there; F "
        "is that of the region, llc and the constant are not those of a minimum"
    ]
