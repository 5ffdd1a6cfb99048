"""Detection while a series grows: after how many checkpoints a transition is rung, and how often the bell rings for
nothing.

The synthetic series of `benchmarks.transitions` are shown one checkpoint at a time, as `slt track --watch` sees them.
At each look the transitions are found from what is there, and `slt.series.bell.Bell` says which are rung. A ring is
true if its transition goes the way of a true one that has begun and comes within MARGIN checkpoints of it; false
otherwise, and where the same one was rung before. The delay is counted in checkpoints, from the true beginning and from
the true end. The looks are kept, so that other rules can be held against the same series: rung when found, or when the
change is so many of its standard errors.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from benchmarks.transition_series import FAMILIES, Series, make
from slt.series.bell import CERTAINTY, Bell
from slt.trajectory import Trajectory
from slt.transitions.detection import LEAST, Transition, find_transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 3.0  # checkpoints
RULES = (0.0, 3.0, 4.0, 5.0, 6.0, 8.0)  # standard errors
WANTED, ALARMS, SHARP = 0.95, 0.05, ("staircase", "ramp", "shoulder")
ABOUT = About(
    title="Detection of transitions while a series grows",
    claim="`slt track --watch` rings for a transition a few checkpoints after its beginning, and seldom for nothing.",
    source="README, 'A series of checkpoints'",
    target="Delay and false alarms, measured: at least 95% of staircases, ramps and shoulders rung, at most 0.05 false "
    "alarms per series without a transition.",
    criterion="Reproduced if both hold for the rule in use, partly if one. The bounds are "
    "those of detection in whole series.",
    duration="10 minutes",
)


@dataclass(frozen=True)
class Change:
    """A true transition: where it begins and ends, in checkpoints, and which way it goes."""

    start: float
    end: float
    up: bool


def changes(series: Series) -> list[Change]:
    """The true transitions, from the boundaries and the noiseless direction (that of the levels on both sides)."""
    place = np.arange(len(series.x))
    positions = np.interp([position for position, _ in series.boundaries], series.x, place)
    pairs = (
        [(p, p) for p in positions] if series.family == "staircase" else list(zip(*[iter(positions)] * 2, strict=True))
    )
    found = []
    for start, end in pairs:
        before = series.llc[max(0, int(start) - 2) : int(start) + 1].mean()
        after = series.llc[int(np.ceil(end + 1e-9)) : int(np.ceil(end)) + 3].mean()
        found.append(Change(float(start), float(end), bool(after > before)))
    return found


Looks = list[list[Transition]]  # after each checkpoint


def look(series: Series, replicates: int) -> Looks:
    unknown = np.full(len(series.step), np.nan)
    looks: Looks = [[] for _ in range(LEAST - 1)]
    for count in range(LEAST, len(series.step) + 1):
        seen = Trajectory(
            step=series.step[:count], llc=series.llc[:count], std_error=series.error[:count], loss=unknown[:count]
        )
        looks.append(find_transitions(seen, replicates=replicates))
    return looks


def rings(series: Series, looks: Looks, certainty: float) -> dict[str, Any]:
    """Delays of the true rings, and the count of the false ones."""
    place = np.arange(len(series.x))
    truth = changes(series)
    rung: set[int] = set()
    after_start, after_end, false = [], [], 0
    bell = Bell(certainty)
    for now, found in enumerate(looks):
        for transition in bell.listen(found):
            start, end = np.interp(np.log([transition.start, transition.end]), series.x, place)
            fits = [
                i
                for i, change in enumerate(truth)
                if change.up == (transition.direction == "up")
                and end >= change.start - MARGIN
                and start <= change.end + MARGIN
                and now >= change.start
                and i not in rung
            ]
            if not fits:
                false += 1
                continue
            nearest = min(fits, key=lambda i: abs(truth[i].start - start))
            rung.add(nearest)
            after_start.append(now - truth[nearest].start)
            after_end.append(now - truth[nearest].end)
    return {"true": len(truth), "rung": len(rung), "after_start": after_start, "after_end": after_end, "false": false}


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    delays, ends = ([d for r in results for d in r[name]] for name in ("after_start", "after_end"))
    total = sum(r["true"] for r in results)
    found: dict[str, Any] = {
        "series": len(results),
        "false_alarms_per_series": float(np.mean([r["false"] for r in results])),
        "series_with_a_false_alarm": float(np.mean([r["false"] > 0 for r in results])),
    }
    if total:
        quantiles = dict(zip(("median", "90%"), np.quantile(delays, [0.5, 0.9]).tolist(), strict=True))
        from_end = dict(zip(("median", "90%"), np.quantile(ends, [0.5, 0.9]).tolist(), strict=True))
        found |= {"rung": sum(r["rung"] for r in results) / total, "delay": quantiles, "delay_from_end": from_end}
    return found


def family_results(family: list[Series], replicates: int) -> dict[str, dict[str, Any]]:
    """By rule, what the series of a family show."""
    pairs = [(series, look(series, replicates)) for series in family]
    return {
        rule(certainty): summary([rings(series, looks, certainty) for series, looks in pairs]) for certainty in RULES
    }


def rule(certainty: float) -> str:
    return f"{certainty:g} standard errors"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--series", type=at_least(1), default=60, help="of each of the families; of constant ones, twice that"
    )
    parser.add_argument("--replicates", type=at_least(1), default=1, help="of the bootstrap at each look")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    count, families = (1, ("staircase", "constant")) if quick else (options.series, FAMILIES)
    rng, found = np.random.default_rng(options.seed + 1), {}
    for family in families:
        series = [make(family, rng) for _ in range(count * (2 if family == "constant" else 1))]
        key = f"{family}, {len(series)} series, {options.replicates} replicates, seed {options.seed}"
        found[family] = kept(key, family_results, series, options.replicates)
    names = [rule(certainty) for certainty in RULES]
    by_rule = {name: {family: found[family][name] for family in families} for name in names}
    return {"rules": by_rule, "used": rule(CERTAINTY)}


def judge(measured: dict[str, Any]) -> Verdict:
    found = measured["rules"][measured["used"]]
    checks = [
        (f"{family}: {found[family]['rung']:.0%} rung (at least {WANTED:.0%})", found[family]["rung"] >= WANTED)
        for family in SHARP
        if family in found
    ]
    alarms = found["constant"]["false_alarms_per_series"]
    return verdict_of(
        [*checks, (f"{alarms:.3f} false alarms per constant series (at most {ALARMS})", alarms <= ALARMS)]
    )


def tables(measured: dict[str, Any]) -> list[Table]:
    found = []
    for name, families in measured["rules"].items():
        rows = []
        for family, row in families.items():
            rung, delay = row.get("rung"), row.get("delay") or {}
            share = "" if rung is None else f"{rung:.0%}"
            delays = [f"{delay[key]:.1f}" if delay.get(key) is not None else "" for key in ("median", "90%")]
            rows.append((family, str(row["series"]), share, *delays, f"{row['false_alarms_per_series']:.3f}"))
        header = ("family", "series", "rung", "delay, median", "delay, 90%", "false alarms per series")
        in_use = ", the rule in use" if name == measured["used"] else ""
        found.append(
            Table(header, rows, f"Rung from {name} on{in_use}. Delays in checkpoints from the true beginning.")
        )
    return found


def draw(measured: dict[str, Any]) -> Figure:
    """By standard errors: what is rung, after how long, and false alarms."""
    from benchmarks import figures

    figure, axes = figures.new(3, width=3.4, height=3.2)
    rules = measured["rules"]
    needed = [float(name.split()[0]) for name in rules]
    for family in next(iter(rules.values())):
        rows = [found[family] for found in rules.values()]
        if family != "constant":
            axes[0].plot(needed, [100 * row["rung"] for row in rows], "o-", ms=4, label=family)
            axes[1].plot(needed, [row["delay"]["median"] for row in rows], "o-", ms=4, label=family)
        else:  # in the colour that comes after those of the others
            axes[2].plot([], [])
        axes[2].plot(needed, [row["false_alarms_per_series"] for row in rows], "o-", ms=4, label=family)
    axes[0].axhline(100 * WANTED, color="gray", linewidth=0.8, linestyle="--")
    axes[2].axhline(ALARMS, color="gray", linewidth=0.8, linestyle="--")
    axes[0].set(ylabel="transitions rung, %")
    axes[1].set(ylabel="median delay, checkpoints", ylim=(0, None))
    axes[2].set(ylabel="false alarms per series", ylim=(0, None))
    for axis in axes:
        axis.axvline(float(measured["used"].split()[0]), color="gray", linewidth=6, alpha=0.2)
        axis.set(xlabel="standard errors asked for (shaded: in use)", xticks=list(needed))
    axes[2].legend(fontsize=7)
    return figure
