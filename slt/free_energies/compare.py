"""`compare_phases`: which of several local solutions the posterior prefers, by what odds, and at which n that flips."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from samplers.errors import InputError
from slt.free_energies.estimate import FreeEnergyEstimate
from slt.llc.estimate import finite

DECADES = 3.0  # of n on either side of the given one in which flips are looked for
GRID = 2000


@dataclass(frozen=True)
class Flip:
    """The n at which two solutions hold equal posterior mass; `measured` where the ladders reach that n."""

    n: float
    std_error: float
    preferred_below: str
    preferred_above: str
    measured: bool


@dataclass(frozen=True)
class Pair:
    """Two solutions: Δ is the second's free energy less the first's, in nats; positive prefers the first.

    `terms` splits Δ into nβ ΔL*, Δλ log nβ, -Δ(m - 1) log log nβ and the rest; `formula_flip` is the n at which their
    sum vanishes, the rest held constant, `without_constant` the same with the rest left out.
    """

    first: str
    second: str
    difference: float
    std_error: float
    terms: dict[str, float]
    flips: list[Flip]
    formula_flip: float | None
    without_constant: float | None


@dataclass(frozen=True)
class Comparison:
    """Solutions in the order of their free energies nβ L* + F, lowest first, each with its share of the posterior.

    The shares are those among the solutions given, each with the Gaussian N(w*, I/γ) around its own w* for a prior and
    all of them with the same prior weight. Errors are Monte Carlo errors.
    """

    labels: list[str]
    totals: list[float]
    std_errors: list[float]
    shares: list[float]
    share_errors: list[float]
    pairs: list[Pair]
    n: int
    beta: float
    gamma: float
    reasons: list[str]

    @property
    def preferred(self) -> str:
        """The solution that holds the largest share."""
        return self.labels[0]

    def __str__(self) -> str:
        lines = [f"preferred at n = {self.n}, beta = {self.beta:.4g}, gamma = {self.gamma:.4g}: {self.preferred}"]
        lines += [
            f"  {label}: n·beta·L* + F = {total:.6g} ± {error:.2g} nats, share {share:.3g} ± {share_error:.2g}"
            for label, total, error, share, share_error in zip(
                self.labels, self.totals, self.std_errors, self.shares, self.share_errors, strict=True
            )
        ]
        lines += [f"  {reason}" for reason in self.reasons]
        for pair in self.pairs:
            terms = ", ".join(f"{name} {value:+.4g}" for name, value in pair.terms.items())
            low, high = (_odds(pair.difference + z * pair.std_error) for z in (-1.96, 1.96))
            lines += [
                f"{pair.first} over {pair.second}: log odds {pair.difference:+.4g} ± {pair.std_error:.2g}, odds "
                f"{_odds(pair.difference)} (95%: {low} to {high})",
                f"  in nats: {terms}",
                *(f"  {_flip_line(flip)}" for flip in pair.flips),
            ]
            if not pair.flips:
                open_ = abs(pair.difference) < 1.96 * pair.std_error
                said = "the preference is within its error, so that a flip near this n is not excluded"
                lines.append(f"  {said if open_ else f'no flip within a factor {10**DECADES:.0f} of this n'}")
            if pair.formula_flip is not None:
                without = "none" if pair.without_constant is None else f"n = {pair.without_constant:.4g}"
                lines.append(
                    f"  by the asymptotic form: flips at n = {pair.formula_flip:.4g} (its constant left out: {without})"
                )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values."""
        return asdict(self)

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(_plain(self.to_dict()), ensure_ascii=False)


def compare_phases(estimates: Sequence[FreeEnergyEstimate], labels: Sequence[str] | None = None) -> Comparison:
    """Posterior preference among local solutions from their free energies G = nβ L* + F(β) (Chen et al. 2023).

    The odds of a over b are exp(G_b - G_a). At another n' the loss L* is taken to stay what it is and F to be
    the measured F at nβ = n'β; beyond the ladder F goes on as λ log nβ - (m - 1) log log nβ from its measured end, with
    the slope measured there. A flip is an n at which G_a = G_b.

    Raises InputError for fewer than two solutions, for a failed one, and where n, β or γ differ: the free energies of
    different data, temperatures or priors do not compare.
    """
    if not isinstance(estimates, Sequence) or not all(isinstance(e, FreeEnergyEstimate) for e in estimates):
        raise InputError("a comparison takes a list of results of slt.free_energy, two or more")
    if len(estimates) < 2:
        raise InputError(f"a comparison needs at least two solutions, got {len(estimates)}")
    names = [f"solution {k + 1}" for k in range(len(estimates))] if labels is None else [str(name) for name in labels]
    if len(names) != len(estimates) or len(set(names)) != len(names):
        raise InputError(
            f"{len(estimates)} solutions need as many different labels, got {', '.join(names)}: is one given twice?"
        )
    _check_comparable(estimates, names)
    order = np.argsort([estimate.total for estimate in estimates], kind="stable")
    estimates, names = [estimates[i] for i in order], [names[i] for i in order]
    totals = np.array([estimate.total for estimate in estimates])
    errors = np.array([estimate.std_error for estimate in estimates])
    shares = np.exp(totals.min() - totals)
    shares /= shares.sum()
    # d share_i / d G_j = share_i (share_j - δ_ij)
    jacobian = shares[:, None] * (shares - np.eye(len(shares)))
    first = estimates[0]
    return Comparison(
        labels=names,
        totals=totals.tolist(),
        std_errors=errors.tolist(),
        shares=shares.tolist(),
        share_errors=np.sqrt((jacobian**2 * errors**2).sum(1)).tolist(),
        pairs=[
            _pair(estimates[i], estimates[j], names[i], names[j]) for i, j in combinations(range(len(estimates)), 2)
        ],
        n=first.n,
        beta=first.beta,
        gamma=first.gamma,
        reasons=_reasons(estimates, names),
    )


def _check_comparable(estimates: Sequence[FreeEnergyEstimate], names: Sequence[str]) -> None:
    first = estimates[0]
    for estimate, name in zip(estimates, names, strict=True):
        if estimate.status == "failed":
            raise InputError(f"{name}: its free energy is not usable: {(estimate.reasons or ['no reason given'])[0]}")
        if not math.isfinite(estimate.total):
            raise InputError(f"{name}: its free energy is not a finite number")
        if estimate.data and first.data and estimate.data != first.data:
            raise InputError(f"{name} was made on other data than {names[0]}: their free energies do not compare")
        for knob, why in (
            ("n", "use the same data"),
            ("beta", "give both runs the same --beta"),
            ("gamma", "give both runs the same --gamma"),
        ):
            here, there = getattr(estimate, knob), getattr(first, knob)
            if not math.isclose(here, there, rel_tol=1e-6):
                raise InputError(
                    f"{name} has {knob} = {here:.6g} and {names[0]} has {there:.6g}: their free energies do not "
                    f"compare, {why}"
                )


def _reasons(estimates: Sequence[FreeEnergyEstimate], names: Sequence[str]) -> list[str]:
    reasons = [
        f"{name}: {reason}"
        for e, name in zip(estimates, names, strict=True)
        for reason in e.reasons
        if e.status != "ok"
    ]
    if len({estimate.dimension for estimate in estimates}) > 1:
        reasons.append("the models have different numbers of weights: the odds are between models, prior included")
    return reasons


def _pair(a: FreeEnergyEstimate, b: FreeEnergyEstimate, first: str, second: str) -> Pair:
    terms = {
        "n·beta·ΔL*": b.terms.energy - a.terms.energy,
        "Δλ log n·beta": b.terms.log_n - a.terms.log_n,
        "-Δ(m-1) log log n·beta": b.terms.log_log_n - a.terms.log_log_n,
        "the rest": b.terms.constant - a.terms.constant,
    }

    def asymptotic(n: np.ndarray, rest: float) -> np.ndarray:
        t = np.maximum(n * a.beta, 1 + 1e-9)
        delta_llc, delta_m = b.terms.llc - a.terms.llc, b.terms.multiplicity - a.terms.multiplicity
        energy = t * (b.center_loss - a.center_loss)
        return energy + delta_llc * np.log(t) - delta_m * np.log(np.maximum(np.log(t), 1e-9)) + rest

    grid = a.n * 10 ** np.linspace(-DECADES, DECADES, GRID)
    grid = grid[grid * a.beta > math.e]
    return Pair(
        first=first,
        second=second,
        difference=b.total - a.total,
        std_error=math.hypot(a.std_error, b.std_error),
        terms=terms,
        flips=_flips(a, b, first, second, grid),
        formula_flip=_nearest_root(grid, asymptotic(grid, terms["the rest"]), a.n),
        without_constant=_nearest_root(grid, asymptotic(grid, 0.0), a.n),
    )


def free_energy_at(estimate: FreeEnergyEstimate, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """n β L* + F(nβ) and its error at other n (any shape), L* staying what it is.

    On the ladder F is interpolated in log nβ by cubics whose slopes are the measured λ̂ = dF/d log nβ; below its first
    rung F falls to 0 as the power of nβ that has this slope there; beyond its end it goes on by the asymptotic form
    with the measured slope. Where λ̂ has no plateau that of β* = 1/log n is another: the difference adds to the error.
    """
    curve, more = estimate.curve, estimate.terms.multiplicity - 1
    t = np.asarray(n, dtype=np.float64) * estimate.beta
    rungs = estimate.n * curve.beta
    x, knots = np.log(t), np.log(rungs)
    k = np.clip(np.searchsorted(knots, x) - 1, 0, max(0, len(knots) - 2))
    if len(knots) > 1:
        h = knots[k + 1] - knots[k]
        u = np.clip((x - knots[k]) / h, 0, 1)
        inside = (
            (1 + 2 * u) * (1 - u) ** 2 * curve.free_energy[k]
            + u**2 * (3 - 2 * u) * curve.free_energy[k + 1]
            + h * u * (1 - u) ** 2 * curve.llc[k]
            - h * u**2 * (1 - u) * curve.llc[k + 1]
        )
    else:
        inside = np.full_like(x, curve.free_energy[0])
    beyond = np.maximum(x - knots[-1], 0.0)
    tail = curve.llc[-1] * beyond
    if more and knots[-1] > 0:
        tail += more * (beyond / knots[-1] - np.log(np.maximum(x, knots[-1]) / knots[-1]))
    first = curve.free_energy[0]
    power = curve.llc[0] / first if 0 < curve.llc[0] <= first else 1.0
    value = np.where(t < rungs[0], first * np.minimum(t / rungs[0], 1.0) ** power, inside + tail)
    error = np.interp(x, knots, curve.free_energy_error)
    drift = beyond * np.hypot(curve.llc_error[-1], curve.llc[-1] - estimate.terms.llc)
    return t * estimate.center_loss + value, np.hypot(error, drift)


def _flips(a: FreeEnergyEstimate, b: FreeEnergyEstimate, first: str, second: str, grid: np.ndarray) -> list[Flip]:
    (value_a, error_a), (value_b, error_b) = free_energy_at(a, grid), free_energy_at(b, grid)
    difference, error = value_b - value_a, np.hypot(error_a, error_b)
    flips = []
    for k in np.flatnonzero(np.sign(difference[:-1]) * np.sign(difference[1:]) < 0):
        slope = (difference[k + 1] - difference[k]) / (grid[k + 1] - grid[k])
        n = float(grid[k] - difference[k] / slope)
        below, above = (first, second) if difference[k] > 0 else (second, first)
        flips.append(Flip(n, float(error[k] / abs(slope)), below, above, measured=n <= a.n))
    return flips


def _nearest_root(grid: np.ndarray, values: np.ndarray, n: float) -> float | None:
    """The n of a change of sign nearest to the given n in log n."""
    found = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    if len(found) == 0:
        return None
    k = found[np.abs(np.log(grid[found] / n)).argmin()]
    return float(grid[k] - values[k] * (grid[k + 1] - grid[k]) / (values[k + 1] - values[k]))


def _odds(log_odds: float) -> str:
    """The odds as a number, or as a power of ten where there is none so large in floating point."""
    return f"{math.exp(log_odds):.3g}" if log_odds < 700 else f"10^{log_odds / math.log(10):.4g}"


def _flip_line(flip: Flip) -> str:
    how = "on the ladders" if flip.measured else "beyond the ladders, by the asymptotic form"
    return (
        f"flips at n = {flip.n:.4g} ± {flip.std_error:.2g} ({how}): {flip.preferred_below} below, "
        f"{flip.preferred_above} above"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return finite(value)
