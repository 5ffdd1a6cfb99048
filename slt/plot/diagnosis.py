"""The picture of a diagnosis: what `slt diagnose RUN --plot FILE` draws."""

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from slt.diagnosis.diagnosis import STRANGE_Z, Diagnosis
from slt.llc.draws import sound_chains
from slt.plot.canvas import limits, pyplot, running_mean, save_figure
from slt.scale.curve import Knob, ScaleCurve

MOST_LINES = 24  # chains drawn one by one; of more the first are
MOST_POINTS = 600  # of a line; longer ones are drawn as means of neighbouring draws, or all would be one colour
GREEK: dict[Knob, str] = {"beta": "β", "gamma": "γ"}
STATUS_COLOUR = {"ok": "tab:green", "warning": "tab:orange", "failed": "tab:red"}


def plot_diagnosis(diagnosis: Diagnosis, path: str | Path, name: str | None = None) -> None:
    """Nine panels: draws, running mean, λ̂ by chain; distance, energy, acceptance; λ̂ over γ and β; the verdict."""
    plt = pyplot()
    figure, axes = plt.subplots(3, 3, figsize=(15, 11), layout="constrained")
    _lines(axes[0, 0], diagnosis, "llc", "n·β·(L(w) − L(w*))  [nats]")
    _running(axes[0, 1], diagnosis)
    _by_chain(axes[0, 2], diagnosis)
    _lines(axes[1, 0], diagnosis, "distance", "|w − w*|")
    axes[1, 0].axhline(diagnosis.localizer, color="black", linestyle=":", label="localizing Gaussian alone, √(d/γ)")
    axes[1, 0].legend(fontsize="small", loc="lower right")
    _lines(axes[1, 1], diagnosis, "energy", "n·β·(L − L*) + γ/2·|w − w*|²  [nats]")
    if np.isfinite(diagnosis.draws("acceptance")).any():
        _lines(axes[1, 2], diagnosis, "acceptance", "acceptance (Metropolis), running mean")
        axes[1, 2].set_ylim(0, 1.02)
    else:
        _empty(axes[1, 2], "acceptance", "no Metropolis step: nothing is refused")
    knobs: tuple[Knob, ...] = ("gamma", "beta")
    for axis, knob in zip(axes[2], knobs, strict=False):
        if knob in diagnosis.curves:
            _curve(axis, diagnosis.curves[knob])
        else:
            _empty(axis, f"λ̂ over {GREEK[knob]}", "no usable draws")
    _words(axes[2, 2], diagnosis)
    estimate = diagnosis.estimate
    figure.suptitle(
        f"{name + ':  ' if name else ''}λ̂ = {estimate.llc:.4g} ± {estimate.std_error:.2g}  at n·β = "
        f"{estimate.n * estimate.beta:.4g}, γ = {estimate.gamma:.4g}   ({estimate.sampler}, R-hat {estimate.rhat:.3f}, "
        f"ESS {estimate.ess:.0f}, {estimate.status})"
    )
    save_figure(figure, path)


def _lines(axis: Any, diagnosis: Diagnosis, quantity: str, title: str) -> None:
    """One line a chain; the acceptance, which is all jumps, as its running mean."""
    draws, start = diagnosis.draws(quantity), diagnosis.estimate.trace.warmup
    if quantity == "acceptance":
        known = np.isfinite(draws)
        draws = np.where(known, draws, 0.0).cumsum(1) / np.maximum(known.cumsum(1), 1)
    block = -(-draws.shape[1] // MOST_POINTS)
    whole = draws[:, : draws.shape[1] // block * block].reshape(len(draws), -1, block)
    shown = whole.mean(-1)
    for values in shown[:MOST_LINES]:
        axis.plot((np.arange(len(values)) + 0.5) * block - 0.5, values, linewidth=0.7, alpha=0.8)
    if (reach := limits(shown)) is not None:
        axis.set_ylim(*reach)
    else:
        axis.text(0.5, 0.5, "no finite draw", transform=axis.transAxes, ha="center")
    for chain in diagnosis.chains[:MOST_LINES]:
        if chain.lost_at is not None:
            axis.axvline(chain.lost_at, color="tab:red", linestyle="--", linewidth=0.8)
    if start:
        axis.axvspan(0, start, color="gray", alpha=0.25)
    axis.set_xlim(0, max(1, draws.shape[1] - 1))
    lost = ", dashed: a chain is lost" if any(c.lost_at is not None for c in diagnosis.chains) else ""
    axis.set_xlabel(f"draw{', grey: warm-up' if start else ''}{lost}")
    axis.set_title(title + (f", means of {block} draws" if block > 1 else ""), fontsize="medium")
    axis.grid(alpha=0.3)


def _running(axis: Any, diagnosis: Diagnosis) -> None:
    estimate = diagnosis.estimate
    sound, start = sound_chains(estimate.trace), estimate.trace.warmup
    draws = diagnosis.draws("llc")[sound, start:]
    if not draws.size:
        _empty(axis, "running λ̂", "no usable draws")
        return
    steps = start + np.arange(draws.shape[1])
    for values in draws[:MOST_LINES]:
        axis.plot(steps, values.cumsum() / np.arange(1, len(values) + 1), linewidth=0.6, alpha=0.5)
    mean = running_mean(draws)
    axis.plot(steps, mean, color="black", linewidth=1.6, label="all chains")
    if math.isfinite(estimate.std_error):
        axis.axhspan(*estimate.interval, color="tab:blue", alpha=0.2, label="95% interval of λ̂")
    axis.axhline(estimate.llc, color="tab:blue", linewidth=1)
    late = np.concatenate([[estimate.llc, *estimate.interval], *(v.cumsum() / np.arange(1, len(v) + 1) for v in draws)])
    if (reach := limits(late, above=0.25)) is not None:
        axis.set_ylim(*reach)
    axis.set_xlabel("draw")
    axis.set_title("running λ̂, by chain and of all", fontsize="medium")
    axis.legend(fontsize="small", loc="upper right")
    axis.grid(alpha=0.3)


def _by_chain(axis: Any, diagnosis: Diagnosis) -> None:
    estimate = diagnosis.estimate
    chains = [chain for chain in diagnosis.chains if chain.lost_at is None]
    if not chains:
        _empty(axis, "λ̂ by chain", "every chain is lost")
        return
    if math.isfinite(estimate.std_error):
        axis.axhspan(*estimate.interval, color="tab:blue", alpha=0.2)
    axis.axhline(estimate.llc, color="tab:blue", linewidth=1)
    for chain in chains:
        colour = "tab:red" if abs(chain.z) > STRANGE_Z else "black"
        error = 0.0 if math.isnan(chain.std_error) else 1.96 * chain.std_error
        axis.errorbar(chain.chain, chain.llc, error, fmt="o", color=colour, markersize=4, capsize=2)
    for chain in diagnosis.chains:
        if chain.lost_at is not None:
            axis.axvline(chain.chain, color="tab:red", linestyle="--", linewidth=0.8)
    axis.set_xlim(-0.6, len(diagnosis.chains) - 0.4)
    step = math.ceil(len(diagnosis.chains) / 12)
    axis.set_xticks(range(0, len(diagnosis.chains), step))
    axis.set_xlabel("chain")
    axis.set_title("λ̂ by chain, 95% each", fontsize="medium")
    axis.grid(alpha=0.3)


def _curve(axis: Any, curve: ScaleCurve) -> None:
    """Points with errors on logarithmic axes where they can be, the tangent at the chosen scale, the plateau."""
    chosen = next(point for point in curve.points if point.source == "run")
    usable = [p for p in curve.points if p.status != "failed" and math.isfinite(p.llc)]
    positive = all(point.llc > 0 for point in usable)
    styles = {"run": ("this run", "s", "tab:blue"), "reweighted": ("reweighted", "o", "black")}
    styles["sampled"] = ("runs of their own", "D", "tab:purple")
    for source, (label, marker, colour) in styles.items():
        points = [point for point in usable if point.source == source]
        if points:
            x = [point.factor * curve.chosen for point in points]
            errors = np.nan_to_num([1.96 * point.std_error for point in points])
            axis.errorbar(
                x, [p.llc for p in points], errors, fmt=marker, color=colour, markersize=5, capsize=3, label=label
            )
    if curve.slope is not None and math.isfinite(curve.slope.value):
        factors = np.geomspace(1 / 1.5, 1.5, 30)

        def tangent(slope: float) -> np.ndarray:
            return chosen.llc * (factors**slope if positive else 1 + slope * np.log(factors))

        edges = [tangent(curve.slope.value + z * curve.slope.std_error) for z in (-1.96, 1.96)]
        axis.plot(factors * curve.chosen, tangent(curve.slope.value), color="tab:blue", linewidth=1)
        axis.fill_between(
            factors * curve.chosen, *edges, color="tab:blue", alpha=0.15, label=f"slope {curve.slope} (first order)"
        )
    if curve.plateau is not None:
        axis.axvspan(*curve.plateau, color="tab:green", alpha=0.15, label="plateau")
    failed = [point for point in curve.points if point.status == "failed"]
    for k, point in enumerate(failed):
        axis.axvline(point.factor * curve.chosen, color="tab:red", linestyle="--", label=None if k else "failed there")
    _logarithmic(axis, curve, usable, positive)
    if curve.slope is None and len(curve.points) == 1:
        words = "losses of minibatches cannot be reweighted in β:\nslt diagnose RUN --ladder TASK"
        axis.text(0.5, 0.12, words, transform=axis.transAxes, ha="center", color="gray", fontsize="small")
    axis.set_xlabel(f"{GREEK[curve.knob]}   (chosen: {curve.chosen:.4g})")
    said = {"plateau": "a plateau", "no plateau": "no plateau", "unknown": "plateau or not: not known"}
    axis.set_title(f"λ̂ over {GREEK[curve.knob]}: {said[curve.verdict]}", fontsize="medium")
    axis.legend(fontsize="small", loc="best")
    axis.grid(alpha=0.3, which="both")


def _logarithmic(axis: Any, curve: ScaleCurve, usable: list[Any], positive: bool) -> None:
    """Logarithmic axes that show at least a factor 2 to either side, with plain numbers at round factors."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axis.set_xscale("log")
    factors = [point.factor for point in usable]
    low, high = min([0.5, *factors]) * curve.chosen, max([2.0, *factors]) * curve.chosen
    axis.set_xlim(low / 1.15, high * 1.15)
    ticks = [curve.chosen * 2.0**k for k in range(-3, 4) if low <= curve.chosen * 2.0**k * 1.001 <= high * 1.01]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    if not positive:
        axis.axhline(0, color="black", linewidth=0.6)
        return
    axis.set_yscale("log")
    room = 2.5 if len(usable) == 1 else 1.5  # for the tangent
    bottom, top = min(p.llc for p in usable) / room, max(p.llc for p in usable) * room
    axis.set_ylim(bottom, top)
    nice = [m * 10.0**e for e in range(-6, 7) for m in (1, 1.5, 2, 3, 4, 5, 7) if bottom <= m * 10.0**e <= top]
    axis.yaxis.set_major_locator(FixedLocator(nice))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _words(axis: Any, diagnosis: Diagnosis) -> None:
    estimate = diagnosis.estimate
    axis.axis("off")
    axis.text(0, 1, f"verdict: {estimate.status}", color=STATUS_COLOUR[estimate.status], weight="bold", va="top")
    lines = [*estimate.reasons, *(f"→ {step}" for step in diagnosis.next_steps)]
    text = "\n".join(textwrap.fill(line, 62) for line in lines)
    axis.text(0, 0.92, text, fontsize="small", va="top", linespacing=1.4)


def _empty(axis: Any, title: str, words: str) -> None:
    axis.set_title(title, fontsize="medium")
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", color="gray")
    axis.set_xticks([])
    axis.set_yticks([])
