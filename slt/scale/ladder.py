"""A short ladder: estimates at scales that one run's draws do not reach, for the curves λ̂(β) and λ̂(γ)."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from samplers.engine import PerSampleLoss
from samplers.errors import InputError
from samplers.registry import KERNELS
from slt.llc.estimate import Estimate
from slt.llc.estimation import estimate_llc
from slt.llc.sensitivity import Slope
from slt.records import from_record, to_record
from slt.scale.curve import Knob, ScalePoint, scale_curves

LADDER = (1 / 4, 1 / 2, 2.0, 4.0)
LADDER_ERROR = 0.03  # relative: 10% is then three errors, and a plateau can be told from a slope
SAME_LOSS = 1e-3  # relative difference of L(w*) up to which weights and data count as those of the estimate
_KEPT = "scale_ladder"  # the attribute of an estimate's trace that holds the points

At = Callable[..., Estimate]
"""Keyword settings -> the estimate they give of the same weights on the same data."""


def sample_scales(
    estimate: Estimate,
    model: nn.Module,
    data: Any,
    loss: PerSampleLoss | None = None,
    *,
    factors: Sequence[float] = LADDER,
    progress: bool | None = None,
    **settings: Any,
) -> Estimate:
    """The estimate with λ̂ sampled at `factors` times its β and its γ, wherever reweighting does not reach already.

    `model` (at the weights w*), `data` and `loss` are those of the estimate. Each point is a run of its own, with the
    sampler, chains and minibatches of the estimate and another seed, to a relative error of 3% unless `settings` say
    otherwise; a failed one is kept with its reasons. The points stay with the estimate, in its file too, and are part
    of its `slt.scale.curve.scale_curves`.

    Raises InputError for factors that are not positive, and where L(w*) or the dimension is not that of the estimate.
    """

    def at(**knobs: Any) -> Estimate:
        return estimate_llc(model, data, loss, progress=progress, **knobs)

    return climb(estimate, at, factors, **settings)


def climb(estimate: Estimate, at: At, factors: Sequence[float] = LADDER, **settings: Any) -> Estimate:
    """`sample_scales` with any way `at` of estimating at given settings."""
    if not all(factor > 0 and math.isfinite(factor) for factor in factors):
        raise InputError(f"the factors of a ladder must be positive and finite, got {list(factors)}")
    points = list(sampled_scales(estimate))
    knobs: dict[str, Any] = {
        "chains": estimate.chains,
        "sampler": estimate.sampler if estimate.sampler in KERNELS else "auto",
        "batch_size": estimate.batch_size if estimate.batch_size < estimate.n else None,
        "target_error": LADDER_ERROR,
        **settings,
    }
    for knob, curve in scale_curves(estimate, points).items():
        for factor in curve.missing(factors):
            scale = {"beta": estimate.beta, "gamma": estimate.gamma}
            scale[knob] *= factor
            found = at(seed=estimate.seed + 1 + len(points), **scale, **knobs)
            _require_same(found, estimate)
            points.append((knob, _sampled_point(estimate, found, factor)))
    return _keeping(estimate, points)


def sampled_scales(estimate: Estimate) -> tuple[tuple[Knob, ScalePoint], ...]:
    """The points that `sample_scales` left with an estimate."""
    kept = json.loads(estimate.trace.attributes.get(_KEPT, "[]"))
    return tuple((record.pop("knob"), from_record(ScalePoint, record)) for record in kept)


def _keeping(estimate: Estimate, points: Sequence[tuple[Knob, ScalePoint]]) -> Estimate:
    text = json.dumps([{"knob": knob, **to_record(point)} for knob, point in points], ensure_ascii=False)
    return replace(estimate, trace=replace(estimate.trace, attributes={**estimate.trace.attributes, _KEPT: text}))


def _require_same(found: Estimate, estimate: Estimate) -> None:
    for name in ("n", "dimension"):
        if getattr(found, name) != getattr(estimate, name):
            raise InputError(
                f"the run has {name} = {getattr(estimate, name)}, this task and checkpoint {getattr(found, name)}: "
                "give those of the run"
            )
    if abs(found.center_loss - estimate.center_loss) > SAME_LOSS * max(abs(estimate.center_loss), 1e-3):
        raise InputError(
            f"the run has L(w*) = {estimate.center_loss:.6g}, this task and checkpoint {found.center_loss:.6g}: "
            "give those of the run"
        )


def _sampled_point(estimate: Estimate, found: Estimate, factor: float) -> ScalePoint:
    change = Slope(math.nan, math.nan)
    if found.llc > 0 and estimate.llc > 0:
        error = math.hypot(found.std_error / found.llc, estimate.std_error / estimate.llc)
        change = Slope(math.log(found.llc / estimate.llc), error)
    return ScalePoint(
        factor=factor,
        llc=found.llc,
        std_error=found.std_error,
        change=change,
        source="sampled",
        share=math.nan,
        status=found.status,
        reasons=tuple(found.reasons),
    )
