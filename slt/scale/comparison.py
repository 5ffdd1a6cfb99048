"""Estimates side by side, and a warning where they were made at different scales."""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from samplers.errors import InputError
from slt.llc.estimate import Estimate
from slt.llc.sensitivity import reweighted
from slt.records import to_record
from slt.scale.curve import carries

SAME = 1e-6  # relative difference up to which two scales are one
CLEAR_Z = 3.0


class ScaleWarning(UserWarning):
    """Numbers made at different scales were held against each other."""


@dataclass(frozen=True)
class Difference:
    """λ̂ of `second` less that of `first`, with its error and z. `mismatch` names what differs in the scale, (), where
    the two compare; then `at_scale_of_first` is the difference once the second's draws are reweighted to the scale of
    the first, None where they do not reach.
    """

    first: str
    second: str
    difference: float
    std_error: float
    z: float
    mismatch: tuple[str, ...]
    at_scale_of_first: tuple[float, float] | None

    def __str__(self) -> str:
        line = f"{self.second} less {self.first}: {self.difference:+.4g} ± {self.std_error:.2g} (z = {self.z:+.1f})"
        if not self.mismatch:
            return f"{line}: {'a difference' if abs(self.z) > CLEAR_Z else 'no clear difference'}"
        lines = [f"{line}: NOT COMPARABLE, {'; '.join(self.mismatch)}"]
        if self.at_scale_of_first is not None:
            value, error = self.at_scale_of_first
            lines.append(f"  at the scale of {self.first}, by reweighting: {value:+.4g} ± {error:.2g}")
        return "\n".join(lines)


@dataclass(frozen=True)
class ScaleComparison:
    """Estimates by label, and the difference of each pair."""

    labels: tuple[str, ...]
    estimates: tuple[Estimate, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        width = max(len(label) for label in self.labels)
        lines = [
            f"{label:{width}}  llc = {e.llc:.4g} ± {e.std_error:.2g} at n·beta = {e.n * e.beta:.4g}, gamma = "
            f"{e.gamma:.4g} ({e.dimension:,} weights, {e.sampler}, {e.status})"
            for label, e in zip(self.labels, self.estimates, strict=True)
        ]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, *map(str, self.differences)])

    def to_json(self) -> str:
        """One JSON object on one line; numbers that are not finite become null."""
        values: dict[str, Any] = {
            "estimates": {
                label: to_record(estimate, without=("trace",))
                for label, estimate in zip(self.labels, self.estimates, strict=True)
            },
            "differences": to_record(self.differences),
            "warnings": list(self.warnings),
        }
        return json.dumps(values, ensure_ascii=False)


def compare_scales(estimates: Sequence[Estimate], labels: Sequence[str] | None = None) -> ScaleComparison:
    """Differences of λ̂ between estimates, λ̂_b - λ̂_a with the errors added in squares.

    λ̂ is a number at a scale: estimates of which nβ or γ differ are not comparable. Their difference is then marked as
    such, a `ScaleWarning` is issued, and the difference at the first one's scale is given where the second's draws
    can be reweighted to it. Another dimension or n is said too: the former changes what γ means.

    Raises InputError for fewer than two estimates, labels that do not fit, and failed estimates.
    """
    names = [f"estimate {k + 1}" for k in range(len(estimates))] if labels is None else list(labels)
    if len(estimates) < 2 or len(names) != len(estimates) or len(set(names)) != len(names):
        raise InputError(
            f"a comparison needs at least two estimates and as many different labels, got {len(estimates)} and "
            f"{', '.join(names)}"
        )
    for name, estimate in zip(names, estimates, strict=True):
        if estimate.status == "failed":
            raise InputError(f"{name}: its llc is not usable: {(estimate.reasons or ['no reason given'])[0]}")
    pairs = combinations(range(len(estimates)), 2)
    differences = tuple(_difference(estimates[i], estimates[j], names[i], names[j]) for i, j in pairs)
    said = _warnings(estimates)
    for message in said:
        warnings.warn(message, ScaleWarning, stacklevel=2)
    return ScaleComparison(tuple(names), tuple(estimates), differences, tuple(said))


def scale_mismatch(a: Estimate, b: Estimate) -> tuple[str, ...]:
    """In words, what differs between what two estimates measure, scale and remedy; () where their λ̂ compare."""
    found = _other_scale(a, b)
    if a.remedy != b.remedy:
        found.append(f"the remedy is {a.remedy or 'none'} and {b.remedy or 'none'}")
    return tuple(found)


def _other_scale(a: Estimate, b: Estimate) -> list[str]:
    pairs = (("n·beta", a.n * a.beta, b.n * b.beta), ("gamma", a.gamma, b.gamma))
    return [f"{k} is {x:.4g} and {y:.4g}" for k, x, y in pairs if not math.isclose(x, y, rel_tol=SAME)]


def _difference(a: Estimate, b: Estimate, first: str, second: str) -> Difference:
    value, error = b.llc - a.llc, math.hypot(a.std_error, b.std_error)
    mismatch = scale_mismatch(a, b)
    return Difference(
        first=first,
        second=second,
        difference=value,
        std_error=error,
        z=value / error if error > 0 else math.nan,
        mismatch=mismatch,
        at_scale_of_first=_at_scale(a, b) if mismatch else None,
    )


def _at_scale(a: Estimate, b: Estimate) -> tuple[float, float] | None:
    """λ̂_b at the scale of a less λ̂_a, with its error; None where the draws of b do not reach."""
    n_beta = b.n * b.beta
    if n_beta == 0 or a.beta == 0 or a.remedy != b.remedy:
        return None
    factors = {"beta_factor": a.n * a.beta / n_beta, "gamma_factor": a.gamma / b.gamma}
    same_beta = math.isclose(factors["beta_factor"], 1, rel_tol=SAME)
    if b.batch_size < b.n and not same_beta:
        return None  # the noise of minibatches would pass for heat capacity
    if not carries(b, **factors):
        return None
    here, there = reweighted(b.trace, n_beta, b.gamma), reweighted(b.trace, n_beta, b.gamma, **factors)
    beyond = max(0.0, b.std_error**2 - here.std_error**2)  # of a step's bias, taken out of λ̂ but not of the draws
    value = there.llc + b.llc - here.llc - a.llc
    return value, math.sqrt(a.std_error**2 + there.std_error**2 + beyond)


def _warnings(estimates: Sequence[Estimate]) -> list[str]:
    first, said = estimates[0], []
    if len({estimate.remedy for estimate in estimates}) > 1:
        said.append("these were made with different remedies, which are different estimators of llc")
    if any(_other_scale(first, estimate) for estimate in estimates):
        said.append(
            "these were made at different scales, and llc is a number at a scale: give all runs the same --beta and "
            f"--gamma, such as --beta {first.beta:.6g} --gamma {first.gamma:.6g}"
        )
    if len({estimate.n for estimate in estimates}) > 1:
        said.append("these were made on different numbers of samples")
    if len({estimate.dimension for estimate in estimates}) > 1:
        said.append("the models have different numbers of weights, so the same gamma reaches differently far")
    return said
