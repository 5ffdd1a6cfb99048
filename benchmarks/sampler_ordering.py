"""Stochastic-gradient samplers on a deep linear network over one grid of step sizes, and ours at the same cost.

The network, posterior, minibatches and HMC reference of `deep_linear_samplers` (10-10-10-10, truth of rank 3, n =
50,000, γ = 100, minibatches of 256). Theirs take the plain minibatch gradient: SGLD, RMSprop-SGLD with moments that
never settle and no drift correction, Adam-SGLD, SGHMC and SGNHT with momentum 0.9. Every run has 64 chains from draws
of the localizing Gaussian and 3,000 steps, of which the second half counts. An error is |λ̂/reference - 1|; a run whose
chains are lost counts as 100%.

Ours: SGHMC without momentum, control variates and noise compensation, and SGNHT with control variates (momentum 0.3),
on the same grid; their runs are those of `deep_linear_samplers` again, at equal length.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.deep_linear_loss import DeepLinear, posterior_of
from benchmarks.deep_linear_runs import REPLICATES, Setting, hmc_reference, run_setting
from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from samplers.adaptive_preconditioner import Adam, RMSprop
from samplers.gradient import ControlVariate
from samplers.noise_compensation import NoiseCompensation
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Samplers by error over step sizes, theirs and ours, on a deep linear network",
    claim="Of the stochastic-gradient samplers RMSprop-SGLD is the most reliable over step sizes; control variates "
    "with compensation or a thermostat are below all of them.",
    source="Hitchcock & Hoogland 2025",
    target="RMSprop-SGLD has the smallest median error over the grid among theirs; the best error of ours is below the "
    "best of every one of theirs, and so is the median.",
    criterion="Reproduced if all hold; partly if some do. One network of 300 weights; theirs reach 10⁸.",
    duration="3 minutes",
)
GRID = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4)
GAMMA, STEPS = 100.0, 3000
PUBLISHED_BEST = "RMSprop-SGLD"
THEIRS: dict[str, Any] = {
    "SGLD": SGLD,
    PUBLISHED_BEST: lambda e: SGLD(e, RMSprop(adapt=None, correction=False)),
    "Adam-SGLD": lambda e: SGLD(e, Adam()),
    "SGHMC": SGHMC,
    "SGNHT": SGNHT,
}
OURS: dict[str, Any] = {
    "SGHMC c=0, control variates, compensation": lambda e: SGHMC(
        e, 0.0, gradient=ControlVariate(), compensation=NoiseCompensation()
    ),
    "SGNHT c=0.3, control variates": lambda e: SGNHT(e, 0.3, gradient=ControlVariate()),
}


def measured_at(posterior: Any, name: str, epsilon: float, reference: float, steps: int) -> dict[str, Any]:
    """One sampler at one step; a run that diverges has no λ̂."""
    row = asdict(run_setting(posterior, Setting(name, (THEIRS | OURS)[name], (epsilon,)), epsilon, reference, steps))
    return {key: row[key] for key in ("kernel", "step_size", "llc", "bias", "error_of_bias", "seconds")}


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    loss = DeepLinear()
    draws = kept(f"reference, γ = {GAMMA:g}", reference, loss, *((10, 16, 4) if quick else (400, 16, 100)))
    posterior, rows = posterior_of(loss, GAMMA, REPLICATES), []
    names, grid, steps = ([*THEIRS][:2] + [*OURS][:1], GRID[:1], 40) if quick else ([*THEIRS, *OURS], GRID, STEPS)
    for name in names:
        for epsilon in grid:
            key = f"{name}, ε = {epsilon:g}, {steps} steps"
            rows.append(kept(key, measured_at, posterior, name, epsilon, draws["llc"], steps))
    return {"reference": draws, "rows": rows}


def reference(loss: DeepLinear, draws: int, leapfrog: int, anneal: int) -> dict[str, float]:
    chains = hmc_reference(loss, GAMMA, 2e-5, draws, leapfrog, anneal)[0].mean(0)
    return {"llc": float(chains.mean()), "error": float(chains.std()) / len(chains) ** 0.5}


def errors(measured: dict[str, Any]) -> dict[str, dict[float, float]]:
    """|λ̂/reference - 1| by sampler and step, 1 at most."""
    found: dict[str, dict[float, float]] = {}
    for row in measured["rows"]:
        lost = row["bias"] is None or not math.isfinite(row["bias"])
        found.setdefault(row["kernel"], {})[row["step_size"]] = 1.0 if lost else min(1.0, abs(row["bias"]))
    return found


def ordered(measured: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(sampler, median over the grid, best), the smallest median first."""
    found = [(name, median(values.values()), min(values.values())) for name, values in errors(measured).items()]
    return sorted(found, key=lambda item: item[1])


def judge(measured: dict[str, Any]) -> Verdict:
    rows = ordered(measured)
    theirs, ours = [row for row in rows if row[0] in THEIRS], [row for row in rows if row[0] in OURS]
    best, near = min(row[2] for row in ours), min(row[1] for row in ours)
    rival, close = min(row[2] for row in theirs), theirs[0][1]
    return verdict_of(
        [
            (
                "theirs by median error over the grid: " + ", ".join(f"{name} {value:.1%}" for name, value, _ in theirs)
                + f" ({PUBLISHED_BEST} first)",
                theirs[0][0] == PUBLISHED_BEST,
            ),
            (f"best error: ours {best:.1%}, theirs {rival:.1%} (ours below)", best < rival),
            (f"median error: best of ours {near:.1%}, best of theirs {close:.1%} (ours below)", near < close),
        ]
    )  # fmt: skip


def tables(measured: dict[str, Any]) -> list[Table]:
    found = errors(measured)
    grid = sorted({row["step_size"] for row in measured["rows"]})
    rows = [
        (name, "ours" if name in OURS else "theirs", *(f"{found[name][e]:.1%}" for e in grid), f"{middle:.1%}",
         f"{least:.1%}")
        for name, middle, least in ordered(measured)
    ]  # fmt: skip
    hmc = measured["reference"]
    caption = (
        "|λ̂/reference - 1| by step size, 100% where it is more or the chains are lost; "
        f"reference {hmc['llc']:.2f} ± {hmc['error']:.2f} by HMC."
    )
    return [Table(("sampler", "whose", *(f"{e:.0e}" for e in grid), "median", "best"), rows, caption)]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=6.4, height=4.2)
    for name, values in errors(measured).items():
        mark = "o-" if name in OURS else "x--"
        axis.loglog(list(values), [max(value, 2e-3) for value in values.values()], mark, ms=5, lw=1.2, label=name)
    axis.set(xlabel="step size ε", ylabel="relative error of λ̂ after 3,000 steps (at most 1)")
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return figure
