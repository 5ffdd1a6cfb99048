"""The budget of `slt.Tracker` against what it takes: a digits network is trained for a while, tracked at each budget.

The share is measured from outside: the time spent in calls of the tracker over the time that the loop spends on its own
work. It is looked at after every step from a tenth of the training on, because a budget that is kept only at the end is
none; the worst moment is reported with the last. In the background the calls are snapshots; what the estimates take is
reported beside it, as a share of the same time (the process's start not counted), and the loop's steps per second
beside those without a tracker.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import slt
from benchmarks.harness import About, Kept, Table, Verdict, verdict_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGETS = (0.05, 0.1, 0.3)
TOLERANCE = 0.02
ABOUT = About(
    title="What the tracker takes of a training loop's time",
    claim="`slt.Tracker` keeps to its budget, in the loop and in the background.",
    source="README, 'Inside a training loop'",
    target="Budgets of 5%, 10% and 30% of the training's own time kept to within 2 percentage points, and in the loop "
    "never exceeded by more.",
    criterion="Reproduced if every share is at most 2 points from its budget at the end, and at most 2 above it at its "
    "worst moment; partly if some are.",
    duration="7 minutes",
)
EVERY = 20  # steps
FEW, COARSE = 400, {"chains": 4, "draws": 20}  # samples and draws: estimates of a second, for trainings of a minute


def train(seconds: float, tracker: slt.Tracker | None) -> dict[str, float]:
    """Train until the loop's own work has taken `seconds`."""
    x, y = digits()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    own = tracked = worst = 0.0
    step = 0
    while own < seconds:
        begun = time.perf_counter()
        rows = torch.randint(len(x), (256,))
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        between = time.perf_counter()
        if tracker is not None:
            tracker(step, model)
        tracked += time.perf_counter() - between
        own += between - begun
        step += 1
        if own > seconds / 10:
            worst = max(worst, tracked / own)
    return {"steps": step, "own_seconds": own, "share": tracked / own, "worst_share": worst}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    bunch = load_digits()
    return torch.tensor(bunch.data / 16, dtype=torch.float32), torch.tensor(bunch.target)


def tracked(budget: float, background: bool, seconds: float, untracked: dict[str, float]) -> dict[str, Any]:
    """One training beside the untracked one."""
    few = tuple(part[:FEW] for part in digits())
    tracker = slt.Tracker(few, EVERY, budget=budget, background=background, **COARSE)
    found = train(seconds, tracker)
    tracker.wait()
    speed = (found["steps"] / found["own_seconds"]) / (untracked["steps"] / untracked["own_seconds"])
    return {
        "budget": budget,
        "where": "background" if background else "loop",
        "estimates": len(tracker.news()),
        "passed_over": tracker.passed_over,
        **found,
        "process_share": tracker.seconds / found["own_seconds"] if background else 0.0,
        "speed": speed,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=60, help="of training at each budget")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    seconds, budgets = (0.5, BUDGETS[-1:]) if quick else (options.seconds, BUDGETS)
    untracked = train(min(5.0, seconds), None)
    rows = [
        kept(f"{budget:g}, background {background}, {seconds:g} s", tracked, budget, background, seconds, untracked)
        for background in ((False,) if quick else (False, True))
        for budget in budgets
    ]
    return {"rows": rows}


def share(row: dict[str, Any]) -> float:
    """What the budget speaks of: the time of the process where there is one."""
    return float(row["process_share"] if row["where"] == "background" else row["share"])


def judge(measured: dict[str, Any]) -> Verdict:
    checks = [
        (
            f"{row['where']}, {row['budget']:.0%}: {share(row):.1%}, at the worst moment {row['worst_share']:.1%}",
            abs(share(row) - row["budget"]) <= TOLERANCE and row["worst_share"] <= row["budget"] + TOLERANCE,
        )
        for row in measured["rows"]
    ]
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = [
        (
            row["where"], f"{row['budget']:.0%}", f"{share(row):.1%}", f"{row['share']:.1%}",
            f"{row['worst_share']:.1%}", str(row["estimates"]), f"{row['speed']:.2f}",
        )
        for row in measured["rows"]
    ]  # fmt: skip
    header = ("where", "budget", "taken", "of it in the loop", "at the worst moment", "estimates", "speed of the loop")
    return [Table(header, rows, "Speed of the loop: its own work's steps per second over those without a tracker.")]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, axes = figures.new(2, height=3.0)
    budgets = sorted({row["budget"] for row in measured["rows"]})
    for where, mark in (("loop", "o"), ("background", "s")):
        rows = [row for row in measured["rows"] if row["where"] == where]
        axes[0].plot([100 * row["budget"] for row in rows], [100 * share(row) for row in rows], mark, label=where)
        axes[1].plot([100 * row["budget"] for row in rows], [row["speed"] for row in rows], mark, label=where)
    axes[0].errorbar([100 * b for b in budgets], [100 * b for b in budgets], yerr=100 * TOLERANCE, fmt="_", ms=16,
                     color="gray", capsize=4, label="budget ± 2 points")  # fmt: skip
    axes[1].axhline(1, color="gray", linewidth=0.8)
    axes[0].set(xlabel="budget, %", ylabel="taken, % of the training's own time")
    axes[1].set(xlabel="budget, %", ylabel="the loop's own speed, 1: untracked", ylim=(0, None))
    for axis in axes:
        axis.legend(fontsize=8)
    return figure
