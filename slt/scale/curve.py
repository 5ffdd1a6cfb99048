"""The curves λ̂(β) and λ̂(γ) around the scale of an estimate, and whether it lies on a plateau of theirs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from samplers.errors import InputError
from slt.diagnostics import bulk_ess, pareto_k
from slt.llc.draws import sound_chains
from slt.llc.estimate import Estimate, Status
from slt.llc.sensitivity import PLATEAU, Slope, effective_share, log_weights, reweighted, sensitivity

Knob = Literal["beta", "gamma"]
Source = Literal["run", "reweighted", "sampled"]
Verdict = Literal["plateau", "no plateau", "unknown"]

FACTORS = (1 / 8, 1 / 4, 1 / 2, 2**-0.5, 2**0.5, 2.0, 4.0, 8.0)  # of the chosen β or γ
ENOUGH_SHARE = 0.1  # of the draws, and
ENOUGH_DRAWS = 50.0  # effective ones, for reweighting to be believed, and
MOST_K = 0.5  # the shape of their tail: from here on the weights have infinite variance
LOWEST = 0.55  # of β or γ: n β L and γ D/2 fall off as e^-x at best, so weights e^((1-f) x) have k >= 1 - f
EVEN_SHARE = 0.9  # weights so nearly equal that no tail matters
FLAT = 0.1  # change of log λ̂ over a plateau, two errors included
PLATEAU_REACH = 2**0.5  # a plateau reaches this factor to either side
NEAR = 2.0  # a change beyond FLAT within this factor is one too many


@dataclass(frozen=True)
class ScalePoint:
    """λ̂ at `factor` times the chosen β or γ. `share` is the effective share of the draws behind a reweighted value,
    `change` log λ̂ less that at the chosen scale; errors are over chains. `status` and `reasons` are those of a sampled
    point's own run.
    """

    factor: float
    llc: float
    std_error: float
    change: Slope
    source: Source
    share: float = 1.0
    status: Status = "ok"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScaleCurve:
    """λ̂ as a function of β or γ, the other held, points ascending; `slope` is d log λ̂ / d log of it at the chosen
    scale, None where this run does not know it. `plateau` is the stretch (low, high) of β or γ around the chosen one
    over which λ̂ stays within 10% beyond doubt, where it spans a factor 2; `reach` how far the draws of the run alone
    can be reweighted.
    """

    knob: Knob
    chosen: float
    points: tuple[ScalePoint, ...]
    slope: Slope | None
    plateau: tuple[float, float] | None
    verdict: Verdict
    reach: tuple[float, float]

    def missing(self, factors: Sequence[float]) -> list[float]:
        """Those of the factors at which no point lies."""
        return [f for f in factors if not any(math.isclose(f, point.factor, rel_tol=1e-6) for point in self.points)]

    def __str__(self) -> str:
        if self.plateau is not None:
            low, high = self.plateau
            return f"a plateau: llc stays within {FLAT:.0%} for {self.knob} from {low:.3g} to {high:.3g}"
        if self.verdict == "no plateau":
            return f"no plateau: llc is a number at this {self.knob}, not a property of the network alone"
        flat = self.slope is not None and abs(self.slope.value) + 2 * self.slope.std_error < PLATEAU
        return ("flat to first order; " if flat else "") + "not known whether this is a plateau: the draws do not tell"


def scale_curves(estimate: Estimate, sampled: Sequence[tuple[Knob, ScalePoint]] = ()) -> dict[Knob, ScaleCurve]:
    """The curves around the scale of an estimate, by reweighting its draws, with further points that were `sampled`.

    A draw at (β, γ) stands for one at (β', γ') with weight ∝ exp(-(β'-β) n L - (γ'-γ)/2 |w-w*|²). Points are given
    where at least 10% of the draws and 50 effective ones carry the weight, and the weights have a finite variance by
    the shape of their tail: down to 0.55 β, and in γ with d free directions to a factor of about 1 ± √(6/d).
    Losses of minibatches can be reweighted in γ alone: their noise would pass for heat capacity in β.

    Raises InputError where no chain has draws.
    """
    if estimate.trace.draws < 4 or len(sound_chains(estimate.trace)) == 0 or not estimate.n * estimate.beta > 0:
        raise InputError("there are no draws that could show how llc depends on beta and gamma")
    knobs: tuple[Knob, ...] = ("gamma", "beta")
    return {knob: _curve(estimate, knob, [p for name, p in sampled if name == knob]) for knob in knobs}


def _curve(estimate: Estimate, knob: Knob, sampled: list[ScalePoint]) -> ScaleCurve:
    full = estimate.batch_size >= estimate.n
    known = knob == "gamma" or full
    reach = (_reach(estimate, knob, -1), _reach(estimate, knob, 1)) if known else (1.0, 1.0)
    slope: Slope | None = None
    if known:
        found = sensitivity(estimate.trace, estimate.n * estimate.beta, estimate.gamma)
        slope = found.gamma_slope if knob == "gamma" else found.beta_slope
    own = ScalePoint(1.0, estimate.llc, estimate.std_error, Slope(0.0, 0.0), "run")
    ends = [f for f in reach if f != 1 and not any(math.isclose(f, g, rel_tol=0.1) for g in FACTORS)]
    factors = [f for f in (*FACTORS, *ends) if reach[0] <= f <= reach[1] and f != 1]
    better = {round(math.log(point.factor), 6) for point in sampled}
    points = [own, *sampled]
    points += [_reweighted_point(estimate, knob, f) for f in factors if round(math.log(f), 6) not in better]
    points.sort(key=lambda point: point.factor)
    low, high = _flat_stretch(points)
    verdict: Verdict = "unknown"
    if _sloping(points, slope):
        verdict = "no plateau"
    elif low <= 1 / PLATEAU_REACH * (1 + 1e-9) and high >= PLATEAU_REACH * (1 - 1e-9):
        verdict = "plateau"
    chosen = estimate.gamma if knob == "gamma" else estimate.beta
    plateau = (low * chosen, high * chosen) if verdict == "plateau" else None
    return ScaleCurve(knob, chosen, tuple(points), slope, plateau, verdict, reach)


def factors_of(knob: Knob, factor: float) -> dict[str, float]:
    """The factor as the keyword of `slt.llc.sensitivity.reweighted`."""
    return {f"{knob}_factor": factor}


def _reweighted_point(estimate: Estimate, knob: Knob, factor: float) -> ScalePoint:
    n_beta = estimate.n * estimate.beta
    here = reweighted(estimate.trace, n_beta, estimate.gamma)
    there = reweighted(estimate.trace, n_beta, estimate.gamma, **factors_of(knob, factor))
    # What the estimate knows beyond its draws, a step's bias taken out, shifts the curve as a whole.
    beyond = max(0.0, estimate.std_error**2 - here.std_error**2)
    return ScalePoint(
        factor=factor,
        llc=there.llc + estimate.llc - here.llc,
        std_error=math.sqrt(there.std_error**2 + beyond),
        change=there.change,
        source="reweighted",
        share=there.share,
    )


def _reach(estimate: Estimate, knob: Knob, direction: int) -> float:
    """The factor furthest from 1, up or down, to which the draws can be reweighted; at most that of FACTORS."""
    furthest = math.log(FACTORS[-1])

    def enough(distance: float) -> bool:
        return carries(estimate, **factors_of(knob, math.exp(direction * distance)))

    if enough(furthest):
        return math.exp(direction * furthest)
    low, high = 0.0, furthest
    for _ in range(12):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return math.exp(direction * low) if low > 0 else 1.0


def carries(estimate: Estimate, beta_factor: float = 1.0, gamma_factor: float = 1.0) -> bool:
    """Whether the draws of an estimate, reweighted to other β and γ, still tell λ̂ there."""
    n_beta = estimate.n * estimate.beta
    weights = log_weights(estimate.trace, n_beta, estimate.gamma, beta_factor, gamma_factor)
    share = effective_share(weights)
    if min(beta_factor, gamma_factor) < LOWEST and share < EVEN_SHARE:
        return False
    return share >= ENOUGH_SHARE and share * _effective_draws(weights) >= ENOUGH_DRAWS and pareto_k(weights) < MOST_K


def _effective_draws(values: np.ndarray) -> float:
    """Effective size of draws (chain, draw); a single chain counts as its two halves."""
    if len(values) == 1:
        half = values.shape[1] // 2
        values = np.stack([values[0, :half], values[0, half : 2 * half]])
    if values.shape[1] < 4:
        return 0.0
    return float(values.size) if np.ptp(values) == 0 else bulk_ess(values)


def _flat_stretch(points: list[ScalePoint]) -> tuple[float, float]:
    """The factors around 1 over which log λ̂ changes by at most FLAT, two errors included, without a gap above 2."""
    ends = []
    for side in ([p for p in reversed(points) if p.factor < 1], [p for p in points if p.factor > 1]):
        end = 1.0
        for point in side:
            if abs(math.log(point.factor / end)) > math.log(NEAR) + 1e-9 or not _is_flat(point):
                break
            end = point.factor
        ends.append(end)
    return ends[0], ends[1]


def _is_flat(point: ScalePoint) -> bool:
    return point.status != "failed" and abs(point.change.value) + 2 * point.change.std_error <= FLAT


def _sloping(points: list[ScalePoint], slope: Slope | None) -> bool:
    """Whether λ̂ changes too much, beyond doubt, at the point or within a factor 2 of it."""
    if slope is not None and abs(slope.value) - 2 * slope.std_error > PLATEAU:
        return True
    near = [p for p in points if abs(math.log(p.factor)) <= math.log(NEAR) + 1e-9 and p.status != "failed"]
    return any(abs(p.change.value) - 2 * p.change.std_error > FLAT for p in near)
