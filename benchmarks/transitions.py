"""Detection of transitions on synthetic series with known answers, and on a published series, beside other detectors.

Synthetic: λ between 3 and 300 over 40, 60 or 100 log-spaced checkpoints, levels that differ by factors of 1.6 to 4
(shoulders: 2.6 to 6.4 in two steps), standard errors of 3 to 5% each, reported to within 12%. Staircases of jumps,
ramps of 4 to 12 checkpoints, shoulders (a ramp that pauses half way, or slows down), smooth (logistic) staircases, and
constant series. A boundary is a jump, or an end of a ramp; it is found if a detected one lies within 2 checkpoints.
Intervals are those of the first series of each family, for the bootstrap takes its time; so are the other detectors.
Those that need a penalty or a threshold get the one that does best on the very series they are judged on.

The published series (Hoogland et al. 2024: λ̂ of five in-context linear regressions) is a CSV with columns seed, step,
loss, llc. It comes without a licence and is no part of this repository: put it where `PUBLISHED` says, or give its path
with --icl. Its stages end at 1k, 40k, 126k and 320k steps; an end of a stage is found if the
end (or, where λ̂ turns back, the turn) of a transition lies within 25% of it.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from benchmarks.transition_series import FAMILIES, SHARP, Series, f1, make, others, score
from samplers.errors import InputError
from slt.trajectory import Trajectory
from slt.transitions.detection import find_transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Detection of transitions in series of learning coefficients",
    claim="`slt.find_transitions` finds jumps, ramps and shoulders of noisy series, with intervals, and says "
    "nothing of "
    "flat ones.",
    source="README, 'A series of checkpoints'; published series: Hoogland et al. 2024",
    target="F1 at least 0.95 on staircases, ramps and shoulders, at most 0.05 false alarms per constant series, 85% to "
    "95% of the 90% intervals hold the truth; stage ends 40k and 320k of the published series found in 4 of 5 "
    "seeds.",
    criterion="Reproduced if all hold, partly if some; the published series is counted where there is a file of it "
    "(--icl).",
    duration="10 minutes",
)
PUBLISHED = Path(__file__).parent / "data" / "icl_linear_regression_llc.csv"
STAGE_ENDS = (1e3, 4e4, 1.26e5, 3.2e5)
STAGE_TOLERANCE = 0.25


Found = list[tuple[float, dict[str, tuple[float, float]]]]  # position in log step, and intervals by name


def ours(series: Series, replicates: int) -> Found:
    unknown = np.full(len(series.step), np.nan)
    trajectory = Trajectory(step=series.step, llc=series.llc, std_error=series.error, loss=unknown)
    found: Found = []
    for item in find_transitions(trajectory, replicates=replicates):
        for name in ("middle",) if item.jump else ("start", "end"):
            low, high = np.log(getattr(item, f"{name}_interval"))
            found.append((float(np.log(getattr(item, name))), {name: (float(low), float(high))}))
    return found


def ours_on(item: Series, replicates: int) -> dict[str, Any]:
    """The tally of one series, and whether each matched interval held the truth (with a bootstrap only)."""
    found = ours(item, replicates)
    *tally, matched = score(item, [position for position, _ in found])
    ramps = sum("start" in intervals for _, intervals in found)
    covered = []
    for i, j in matched if replicates > 1 else ():
        position, which = item.boundaries[i]
        interval = found[j][1].get(which) or next(iter(found[j][1].values()))
        covered.append(interval[0] <= position <= interval[1])
    return {"tally": tally, "transitions": len(found) - ramps, "covered": covered}  # a ramp is one, not two


def ours_on_all(family: list[Series], few: int, replicates: int) -> list[dict[str, Any]]:
    """All series of one family, the first with the bootstrap."""
    return [ours_on(item, replicates if k < few else 1) for k, item in enumerate(family)]


def best_of(detect: Callable[[Series, float], list[float]], knobs: np.ndarray, series: list[Series]) -> dict[str, Any]:
    """Another detector at the knob that does best on the very series it is judged on."""
    best: dict[str, Any] = {"f1": -1.0}
    for knob in knobs:
        theirs = [score(item, detect(item, knob))[:3] for item in series]

        def of(*families: str, theirs: list[tuple[int, int, int]] = theirs) -> list[tuple[int, int, int]]:
            return [tally for item, tally in zip(series, theirs, strict=True) if item.family in families]

        if f1(of(*SHARP)) > best["f1"]:
            best = {"f1": f1(of(*SHARP)), "knob": float(knob)}
            best |= {f"f1 {family}": f1(of(family)) for family in FAMILIES[:-1]}
            best["false_alarms_per_constant_series"] = float(np.mean([alarm for _, alarm, _ in of("constant")]))
    return best


def synthetic(count: int, few: int, replicates: int, seed: int, kept: Kept) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    series = [make(family, rng) for family in FAMILIES for _ in range(count)]
    first = [family * count + k for family in range(len(FAMILIES)) for k in range(min(few, count))]
    what = f"{count} series of each family, seed {seed}"
    everything, found = range(len(series)), []
    for number, family in enumerate(FAMILIES):
        members = range(number * count, (number + 1) * count)
        found += kept(
            f"{family}, {what}, bootstrap of {replicates} on {few}",
            ours_on_all,
            [series[k] for k in members],
            few,
            replicates,
        )

    def of(*families: str, among: Iterable[int] = everything) -> list[dict[str, Any]]:
        return [found[k] for k in among if series[k].family in families]

    def f1_of(items: list[dict[str, Any]]) -> float:
        return f1([item["tally"] for item in items])

    hits = {name: [hit for item in of(name) for hit in item["covered"]] for name in FAMILIES[:-1]}
    alarms = np.array([item["transitions"] for item in of("constant")])
    chosen = [series[k] for k in first]
    return {
        "series": len(series),
        "f1": f1_of(of(*SHARP)),
        "f1_by_family": {name: f1_of(of(name)) for name in FAMILIES[:-1]},
        "false_alarms_per_constant_series": float(np.mean(alarms)),
        "constant_series_with_an_alarm": float(np.mean(alarms > 0)),
        "coverage_of_90": float(np.mean([hit for name in SHARP for hit in hits[name]])),
        "coverage_by_family": {name: [float(np.mean(values)), len(values)] for name, values in hits.items() if values},
        "ours_on_the_first": f1_of(of(*SHARP, among=first)),
        "others": {
            name: kept(f"{name}, {what}, first {few}", best_of, detect, knobs, chosen)
            for name, (detect, knobs) in others().items()
        },
    }


def published(path: Path, replicates: int) -> dict[str, Any]:
    rows: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["seed"]].append((int(row["step"]), float(row["loss"]), float(row["llc"])))
    seeds: dict[str, Any] = {}
    hits: dict[str, int] = defaultdict(int)
    for seed, values in sorted(rows.items()):
        step, loss, llc = (np.array(column) for column in zip(*values, strict=True))
        unknown = np.full(len(step), np.nan)
        found = find_transitions(Trajectory(step=step, llc=llc, std_error=unknown, loss=loss), replicates=replicates)
        ends = [item.end if item.turn is None else item.turn for item in found]
        for stage in STAGE_ENDS:
            hits[f"{stage:.0f}"] += any(abs(end / stage - 1) <= STAGE_TOLERANCE for end in ends)
        seeds[seed] = {"stage_ends": [round(end) for end in ends], "transitions": [item.to_dict() for item in found]}
    return {"seeds_with_the_stage_end": {f"{s:.0f}": hits[f"{s:.0f}"] for s in STAGE_ENDS}, "seeds": seeds}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--series", type=at_least(1), default=104, help="of each of the five families")
    parser.add_argument(
        "--first", type=at_least(1), default=30, help="of each family, for intervals and other detectors"
    )
    parser.add_argument("--replicates", type=at_least(1), default=60, help="of the bootstrap")
    parser.add_argument(
        "--icl", type=Path, default=PUBLISHED, help="the published series, a CSV with columns seed, step, loss, llc; "
        "default: %(default)s, if it is there"
    )  # fmt: skip


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    if options.icl != PUBLISHED and not options.icl.is_file():
        raise InputError(f"--icl {options.icl}: no such file")
    count, few, replicates = (3, 1, 5) if quick else (options.series, options.first, options.replicates)
    result: dict[str, Any] = {"synthetic": synthetic(count, few, replicates, options.seed, kept)}
    if options.icl.is_file() and not quick:
        result["published"] = kept(f"published, {replicates} replicates", published, options.icl, replicates)
    return result


def judge(measured: dict[str, Any]) -> Verdict:
    found = measured["synthetic"]
    score, alarms, coverage = found["f1"], found["false_alarms_per_constant_series"], found["coverage_of_90"]
    checks = [
        (f"F1 {score:.3f} (at least 0.95)", score >= 0.95),
        (f"{alarms:.3f} false alarms per constant series (at most 0.05)", alarms <= 0.05),
        (f"90% intervals hold {coverage:.0%} (85% to 95%)", 0.85 <= coverage <= 0.95),
    ]
    hits = measured.get("published", {}).get("seeds_with_the_stage_end", {})
    for stage in ("40000", "320000") if hits else ():
        checks.append((f"stage end {stage} in {hits[stage]} of 5 seeds (at least 4)", hits[stage] >= 4))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    found, families = measured["synthetic"], FAMILIES[:-1]
    rows = [
        (
            "slt.find_transitions", f"{found['f1']:.3f}", *(f"{found['f1_by_family'][name]:.3f}" for name in families),
            f"{found['false_alarms_per_constant_series']:.3f}",
        )
    ]  # fmt: skip
    for name, item in found["others"].items():
        each = (f"{item[f'f1 {family}']:.3f}" for family in families)
        rows.append((name, f"{item['f1']:.3f}", *each, f"{item['false_alarms_per_constant_series']:.3f}"))
    caption = (
        f"F1 on {found['series']} synthetic series; the column F1 is over staircases, ramps and shoulders. The others "
        "have the penalty that does best on the very series they are judged on, the first of each family; there "
        f"slt.find_transitions has F1 {found['ours_on_the_first']:.3f}."
    )
    tallies = [(name, f"{share:.0%}", str(count)) for name, (share, count) in found["coverage_by_family"].items()]
    more = [Table(("family", "90% intervals that hold the truth", "of"), tallies,
                  "Smooth changes have no boundary to hold; the target is of the others.")]  # fmt: skip
    if "published" in measured:
        hits = measured["published"]["seeds_with_the_stage_end"]
        more.append(
            Table(
                ("published stage end, step", "found in seeds, of 5"),
                [(stage, str(count)) for stage, count in hits.items()],
                f"In-context linear regression, from `benchmarks/data/{PUBLISHED.name}`: columns seed, step, loss, llc "
                "of the published series, which has no licence and is not in this repository. Without the file the "
                "two checks on it are left out. 1k and 126k are shoulders to the eye; they are not in the target.",
            )
        )
    return [Table(("detector", "F1", *families, "false alarms per constant series"), rows, caption), *more]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=6.4, height=3.8)
    families, found = FAMILIES[:-1], measured["synthetic"]
    parties = {"slt.find_transitions": [found["f1_by_family"][name] for name in families]}
    parties |= {name: [item[f"f1 {family}"] for family in families] for name, item in found["others"].items()}
    for k, (name, values) in enumerate(parties.items()):
        axis.bar(np.arange(len(families)) + 0.16 * (k - 2), values, 0.15, label=name)
    axis.set(ylabel="F1", xticks=range(len(families)), ylim=(0, 1.02))
    axis.set_xticklabels(families)
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    return figure
