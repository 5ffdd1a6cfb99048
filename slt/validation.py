"""The estimators held against models whose answers are known exactly.

An estimator joins by `register`; it then appears in `slt validate` for every model it applies to.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from slt import zoo
from slt.llc.estimate import Estimate
from slt.llc.estimation import estimate_llc, estimate_potential
from slt.rlct.estimation import estimate_rlct
from slt.zoo import AnalyticModel

Verdict = Literal["agrees", "OUTSIDE", "refused", "no reference"]
MAX_Z = 4.0
MAX_RELATIVE = 0.15  # an error bar may not hide a number that is off by more than this
SAMPLES = 10_000  # n of the potentials
NETWORK_SAMPLES = 2_000
GAMMA = 1.0
MAX_STEPS, NETWORK_STEPS = 20_000, 6_000
_WHITENED = ("linear-regression", "reduced-rank", "deep-linear")
RLCT_DIMENSION, RLCT_MULTIPLICITY = 20, 4  # beyond them m is hardly ever settled
RLCT_QUICK = ("quadratic-10-ill", "crossing-2-2", "crossing-4-4", "norms-3-3")
QUICK = (
    "quadratic-10-ill", "crossing-2-2", "crossing-4-4", "norms-3-3", "x6-x2y2-y6", "a2b", "machine-zero", "tanh-2",
    "reduced-rank-3-2-2-r0", "deep-linear-1-1-1-1-r0", "superposition-6-gon", "polynomial-network-L2-r2",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What an estimator says of a model, beside what it should say; both None where there is nothing to say."""

    value: float
    std_error: float
    reference: float | None
    trusted: bool  # whether the estimator itself calls its number usable
    remark: str = ""
    multiplicity: int | None = None  # of an estimator of both; a wrong one is OUTSIDE
    max_relative: float = MAX_RELATIVE


@dataclass(frozen=True)
class Estimator:
    """A way to a number that the zoo knows: `measure(model, quick)` for the models it `applies` to."""

    name: str
    applies: Callable[[AnalyticModel], bool]
    measure: Callable[[AnalyticModel, bool], Reading]
    quick: tuple[str, ...] = QUICK  # the models of a quick validation


@dataclass(frozen=True)
class Check:
    """One estimator on one model."""

    estimator: str
    model: str
    group: str
    dimension: int
    learning_coefficient: str
    multiplicity: int
    reference: float | None
    estimate: float
    std_error: float
    seconds: float
    verdict: Verdict
    remark: str

    @property
    def relative_error(self) -> float:
        """(estimate - reference) / reference; NaN without a reference."""
        return (self.estimate - self.reference) / self.reference if self.reference else math.nan

    @property
    def z(self) -> float:
        """(estimate - reference) / standard error; NaN without a reference."""
        if self.reference is None or not self.std_error > 0:
            return math.nan
        return (self.estimate - self.reference) / self.std_error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "relative_error": self.relative_error, "z": self.z}


ESTIMATORS: dict[str, Estimator] = {}


def register(estimator: Estimator) -> Estimator:
    """Make an estimator part of every validation."""
    ESTIMATORS[estimator.name] = estimator
    return estimator


def validate(only: str | None = None, quick: bool = False) -> Iterator[Check]:
    """Run every registered estimator over the zoo; `only` names a group, a model or an estimator.

    Each is held against the *finite-n* answer of the distribution it samples (quadrature or closed form), not against
    the asymptotic λ; only `rlct`, which is after (λ, m), is held against those. 'refused' means that the estimator
    itself called its number unusable.
    """
    estimators = [ESTIMATORS[only]] if only in ESTIMATORS else list(ESTIMATORS.values())
    if only is None or only in ESTIMATORS:
        models = zoo.models()
    else:
        models = zoo.models(only) if only in zoo.groups() else [zoo.get(only)]
    named = only is not None and only not in ESTIMATORS
    for estimator in estimators:
        for model in models:
            if estimator.applies(model) and (named or not quick or model.name in estimator.quick):
                yield _check(estimator, model, quick)


def _check(estimator: Estimator, model: AnalyticModel, quick: bool) -> Check:
    started = time.monotonic()
    reading = estimator.measure(model, quick)
    check = Check(
        estimator=estimator.name,
        model=model.name,
        group=model.group,
        dimension=model.dimension,
        learning_coefficient=str(model.rlct.learning_coefficient),
        multiplicity=model.rlct.multiplicity,
        reference=reading.reference,
        estimate=reading.value,
        std_error=reading.std_error,
        seconds=time.monotonic() - started,
        verdict="no reference" if reading.reference is None else "agrees",
        remark=reading.remark,
    )
    if reading.reference is None:
        return check
    inside = abs(check.z) <= MAX_Z and abs(check.relative_error) <= reading.max_relative
    inside = inside and reading.multiplicity in (None, model.rlct.multiplicity)
    verdict: Verdict = "refused" if not reading.trusted else "agrees" if inside else "OUTSIDE"
    return Check(**{**vars(check), "verdict": verdict})


def _settings(quick: bool) -> dict[str, Any]:
    target = 0.05 if quick else 0.02
    return {"gamma": GAMMA, "progress": False, "max_steps": MAX_STEPS, "target_error": target, "chains": 16}


def _finite_n(model: AnalyticModel, n: int) -> float | None:
    """E[tK] at t = n/log n and the γ of the validation; None where the zoo has no oracle."""
    return model.mean_potential(n / math.log(n), GAMMA) if model.has_oracle else None


def _reading(estimate: Estimate, reference: float | None) -> Reading:
    trusted = estimate.status != "failed"
    return Reading(estimate.llc, estimate.std_error, reference, trusted, "; ".join(estimate.reasons[:1]))


def _measure_potential(model: AnalyticModel, quick: bool) -> Reading:
    estimate = estimate_potential(model.potential, model.center, SAMPLES, **_settings(quick))
    return _reading(estimate, _finite_n(model, SAMPLES))


def _rlct_applies(model: AnalyticModel) -> bool:
    """Small ones, each potential once; not the toy model of superposition, whose third derivatives take minutes."""
    small = model.dimension <= RLCT_DIMENSION and model.rlct.multiplicity <= RLCT_MULTIPLICITY
    return small and model.group != "superposition" and not model.name.endswith("-network")


def _measure_rlct(model: AnalyticModel, quick: bool) -> Reading:
    estimate = estimate_rlct(model.potential, model.center, volume=not quick)
    exact = float(model.rlct.learning_coefficient)
    remark = f"m = {estimate.multiplicity}" + "".join(f"; {reason}" for reason in estimate.reasons[:1])
    return Reading(
        estimate.learning_coefficient,
        estimate.std_error,
        exact,
        estimate.status == "ok",
        remark,
        estimate.multiplicity,
        max(0.02, 0.01 / exact),
    )


def _measure_network(sampler: str) -> Callable[[AnalyticModel, bool], Reading]:
    def measure(model: AnalyticModel, quick: bool) -> Reading:
        assert model.regression is not None
        network = model.regression.module(torch.float64)
        inputs = whitened_inputs(model, NETWORK_SAMPLES)
        with torch.no_grad():
            targets = network(inputs)
        knobs = {**_settings(quick), "max_steps": NETWORK_STEPS, "sampler": sampler, "dtype": "float64"}
        estimate = estimate_llc(network, (inputs, targets), model.regression.loss(), **knobs)
        return _reading(estimate, _finite_n(model, NETWORK_SAMPLES))

    return measure


def whitened_inputs(model: AnalyticModel, n: int) -> Tensor:
    """n inputs of a regression (n, k), float64; of linear networks with the second moments of their distribution
    exactly, so that quadrature holds for the sample.
    """
    assert model.regression is not None
    draw = model.regression.draw_inputs
    inputs = draw(n, torch.Generator().manual_seed(0))
    if model.group not in _WHITENED:
        return inputs
    many = draw(400_000, torch.Generator().manual_seed(1))
    wanted = torch.diag((many.T @ many / len(many)).diagonal())
    found = inputs.T @ inputs / len(inputs)
    return inputs @ torch.linalg.inv(torch.linalg.cholesky(found)).T @ wanted.sqrt()


register(Estimator("llc", lambda model: True, _measure_potential))
register(
    Estimator("llc-network", lambda model: model.regression is not None and model.has_oracle, _measure_network("auto"))
)
register(
    Estimator(
        "llc-minibatch",
        lambda model: model.regression is not None and model.has_oracle and model.group in _WHITENED,
        _measure_network("sgld-cv"),
    )
)
register(Estimator("rlct", _rlct_applies, _measure_rlct, RLCT_QUICK))

HEADER = (
    f"{'estimator':14} {'model':29} {'d':>3} {'λ':>6} {'m':>2} {'should be':>9} {'estimate':>9} {'± error':>8} "
    f"{'relative':>8} {'z':>5} {'s':>6}  verdict"
)


def table_row(check: Check) -> str:
    """One line of the table under HEADER."""
    reference = "-" if check.reference is None else f"{check.reference:.4f}"
    z = "-" if math.isnan(check.z) else f"{check.z:+.1f}"
    relative = "-" if math.isnan(check.relative_error) else f"{check.relative_error:+.1%}"
    remark = f"  ({check.remark})" if check.remark and check.verdict not in ("agrees",) else ""
    return (
        f"{check.estimator:14} {check.model:29} {check.dimension:3d} {check.learning_coefficient:>6} "
        f"{check.multiplicity:2d} {reference:>9} {check.estimate:9.4f} {check.std_error:8.4f} {relative:>8} {z:>5} "
        f"{check.seconds:6.1f}  {check.verdict}{remark}"
    )


def tally(checks: list[Check]) -> str:
    """How many checks came to which verdict."""
    verdicts: tuple[Verdict, ...] = ("agrees", "OUTSIDE", "refused", "no reference")
    return ", ".join(f"{sum(check.verdict == v for check in checks)} {v}" for v in verdicts)
