"""What a run's draws say of it: per quantity, per chain, across scales; and what to do next."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samplers.errors import InputError
from slt.diagnostics import summarize_mean
from slt.llc.draws import frozen_chains, llc_draws, sound_chains
from slt.llc.estimate import Estimate
from slt.records import to_record
from slt.scale.curve import Knob, ScaleCurve, ScalePoint, scale_curves

STRANGE_Z = 4.0  # a chain whose mean is further from the others', in errors, is named
SLOW_RHAT = 1.05
LOW_ACCEPTANCE = 0.4


@dataclass(frozen=True)
class QuantityCheck:
    """Mean, standard deviation and convergence of one quantity over the draws after warm-up of the sound chains."""

    name: str
    mean: float
    std: float
    std_error: float
    rhat: float
    ess: float


@dataclass(frozen=True)
class ChainCheck:
    """One chain after warm-up: its own λ̂, `z` its distance from the mean of the others in errors, `rhat_without` the
    R-hat of the others, the root-mean-square distance from w*, the mean acceptance (NaN: no Metropolis step) and the
    mean energy nβ(L - L*) + γ/2 |w - w*|². `lost_at` is the draw at which it turned non-finite, and the rest is NaN.
    """

    chain: int
    llc: float
    std_error: float
    z: float
    rhat_without: float
    distance: float
    acceptance: float
    energy: float
    lost_at: int | None = None


@dataclass(frozen=True)
class Diagnosis:
    """An estimate, taken apart. `localizer` is √(d/γ), the distance from w* of the localizing Gaussian; `confined` the
    share of the squared distance that the loss takes off it; `next_steps` what to do, in words.
    """

    estimate: Estimate = field(repr=False)
    quantities: tuple[QuantityCheck, ...]
    chains: tuple[ChainCheck, ...]
    distance: float
    localizer: float
    confined: float
    curves: dict[Knob, ScaleCurve]
    next_steps: tuple[str, ...]

    def draws(self, name: str) -> np.ndarray:
        """'llc', 'distance', 'acceptance' or 'energy' at every draw, (chain, draw), warm-up included."""
        return draws_of(self.estimate, name)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, as plain values; numbers that are not finite are None."""
        return {
            "estimate": to_record(self.estimate, without=("trace",)),
            "quantities": to_record(self.quantities),
            "chains": to_record(self.chains),
            "distance": to_record(self.distance),
            "localizer": to_record(self.localizer),
            "confined": to_record(self.confined),
            "curves": to_record(self.curves),
            "next_steps": list(self.next_steps),
        }

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def diagnose(estimate: Estimate, sampled: tuple[tuple[Knob, ScalePoint], ...] = ()) -> Diagnosis:
    """Take an estimate apart: quantities, chains, scale curves (with points `sampled` at other scales), next steps."""
    trace = estimate.trace
    sound = sound_chains(trace)
    usable = len(sound) > 0 and trace.draws >= 4
    names = ["llc", "distance", "energy"] + ["acceptance"] * bool(np.isfinite(trace.kept("acceptance")).any())
    quantities = tuple(_quantity(estimate, name, sound) for name in names) if usable else ()
    curves: dict[Knob, ScaleCurve] = {}
    if usable and estimate.beta > 0:
        curves = scale_curves(estimate, sampled)
    squared = float(trace.kept("distance")[sound].mean()) if usable else math.nan
    free = estimate.dimension / estimate.gamma
    chains = tuple(_chain(estimate, chain, sound) for chain in range(trace.chains))
    return Diagnosis(
        estimate=estimate,
        quantities=quantities,
        chains=chains,
        distance=math.sqrt(squared),
        localizer=math.sqrt(free),
        confined=1 - squared / free,
        curves=curves,
        next_steps=tuple(_next_steps(estimate, quantities, chains, curves)),
    )


def draws_of(estimate: Estimate, name: str) -> np.ndarray:
    """A quantity at every draw, (chain, draw), warm-up included: 'llc' is nβ(L - L*), 'distance' |w - w*|, 'energy'
    nβ(L - L*) + γ/2 |w - w*|², whose mean is d/2 on a quadratic, 'acceptance' the Metropolis probability.
    """
    trace = estimate.trace
    if name == "acceptance":
        return trace.acceptance
    if name == "distance":
        return np.sqrt(trace.distance)
    x = llc_draws(trace, estimate.n * estimate.beta)
    if name == "llc":
        return x
    if name == "energy":
        return x + 0.5 * estimate.gamma * trace.distance
    raise InputError(f"draws are of llc, distance, energy or acceptance, not of {name!r}")


def _quantity(estimate: Estimate, name: str, sound: np.ndarray) -> QuantityCheck:
    kept = draws_of(estimate, name)[sound, estimate.trace.warmup :]
    found = summarize_mean(kept)
    return QuantityCheck(name, found.mean, float(kept.std()), found.std_error, found.rhat, found.ess)


def _chain(estimate: Estimate, chain: int, sound: np.ndarray) -> ChainCheck:
    start = estimate.trace.warmup
    if chain not in sound:
        lost = next(found.draw for found in frozen_chains(estimate.trace) if found.chain == chain)
        unknown = math.nan
        return ChainCheck(chain, unknown, unknown, unknown, unknown, unknown, unknown, unknown, lost)
    x = draws_of(estimate, "llc")[:, start:]
    own, others = summarize_mean(x[[chain]]), [c for c in sound if c != chain]
    z = rhat = math.nan
    if len(others) and x.shape[1] >= 4:
        rest = summarize_mean(x[others])
        rhat = rest.rhat
        spread = float(x[others].mean(1).std(ddof=1)) if len(others) > 1 else 0.0
        error = max(math.hypot(own.std_error, rest.std_error), spread * math.sqrt(1 + 1 / len(others)))
        z = (own.mean - rest.mean) / error if error > 0 else math.nan
    acceptance = estimate.trace.acceptance[chain, start:]
    return ChainCheck(
        chain=chain,
        llc=own.mean,
        std_error=own.std_error,
        z=z,
        rhat_without=rhat,
        distance=math.sqrt(float(estimate.trace.distance[chain, start:].mean())),
        acceptance=float(np.nanmean(acceptance)) if np.isfinite(acceptance).any() else math.nan,
        energy=float(draws_of(estimate, "energy")[chain, start:].mean()),
    )


def _next_steps(
    estimate: Estimate,
    quantities: tuple[QuantityCheck, ...],
    chains: tuple[ChainCheck, ...],
    curves: dict[Knob, ScaleCurve],
) -> list[str]:
    steps = []
    if estimate.status == "failed":
        steps.append("Do not use this number: remove the reason first, then estimate again.")
    strange = [c for c in chains if abs(c.z) > STRANGE_Z]
    if strange:
        which = ", ".join(str(c.chain) for c in strange)
        steps.append(f"Look at chain {which}: far from the others; more draws show whether they meet.")
    slow = [q.name for q in quantities if q.name != "llc" and q.rhat > SLOW_RHAT]
    if slow and estimate.rhat <= SLOW_RHAT:
        steps.append(
            f"The {' and the '.join(slow)} of the chains have not settled, though their loss has: if the number "
            "matters, ask for a smaller --target-error and see whether it moves."
        )
    accepted = next((q.mean for q in quantities if q.name == "acceptance"), math.nan)
    if accepted < LOW_ACCEPTANCE:
        steps.append(
            f"Only {accepted:.0%} of the proposals are accepted: leave step_size unset, or give a smaller one."
        )
    if estimate.status == "ok":
        steps.append("Use it, with its scale.")
    sloping = [knob for knob, curve in curves.items() if curve.verdict == "no plateau"]
    if sloping and estimate.status != "failed":
        steps.append(
            f"Compare it only with numbers made at the same {' and '.join(sloping)} (and n): there is no plateau."
        )
    if any(len(curve.missing((2**-0.5, 2**0.5))) for curve in curves.values()) and estimate.status != "failed":
        steps.append("To see further across scales: slt diagnose RUN --ladder TASK, some short runs at other scales.")
    return steps
