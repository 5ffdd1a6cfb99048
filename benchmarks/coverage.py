"""How often the 95% and the 50% interval of `estimate_llc` hold the finite-n answer, at default settings.

Problems whose answer at n samples is a closed form or a quadrature: analytic potentials of the zoo (full-data HMC), and
a linear regression under minibatches (SGLD, with and without control variates; SGHMC), where the bias of the step is
part of what the interval has to cover.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import slt
from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from slt import zoo
from slt.linearized import gauss_newton_eigenvalues, quadratic_llc
from slt.llc.estimate import Estimate
from slt.llc.estimation import estimate_potential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Coverage of the intervals of estimate_llc",
    claim="At default settings (γ is part of the question, the sampler where it is named), the 95% interval holds the "
    "finite-n answer in 95% of runs, the 50% interval in half.",
    source="README, 'What the number means'",
    target="95% and 50% of the runs, over problems whose answer at n = 2,000 is a closed form or a quadrature.",
    criterion="Reproduced if the 95% interval holds it in 90% to 99% of at least 300 runs, the 50% interval in 42% to "
    "58%, and no run failed; partly if some of these hold.",
    duration="6 minutes",
)
SAMPLES, GAMMA = 2_000, 1.0
LEAST_RUNS = 300
POTENTIALS = (
    "quadratic-10-ill", "crossing-2-2", "norms-3-3", "x6-x2y2-y6", "a2b", "tanh-2", "reduced-rank-3-2-2-r0",
    "deep-linear-1-1-1-1-r0",
)  # fmt: skip
MINIBATCH = ("sgld", "sgld-cv", "sghmc")
WIDTH = 6
WANTED = {"95%": (0.90, 0.99), "50%": (0.42, 0.58)}
INSIDE = {"50%": 0.6745, "95%": 1.96}


@dataclass(frozen=True)
class Problem:
    name: str
    exact: float
    run: Callable[[int], Estimate]


def potential(name: str) -> Problem | None:
    model = zoo.get(name)
    exact = model.mean_potential(SAMPLES / math.log(SAMPLES), GAMMA) if model.has_oracle else None
    if exact is None:
        return None

    def run(seed: int) -> Estimate:
        return estimate_potential(model.potential, model.center, SAMPLES, gamma=GAMMA, seed=seed, progress=False)

    return Problem(name, exact, run)


def regression(sampler: str) -> Problem:
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(WIDTH, 1, bias=False, dtype=torch.float64)
    x = torch.randn(SAMPLES, WIDTH, generator=generator, dtype=torch.float64) * torch.linspace(0.3, 1.5, WIDTH)
    with torch.no_grad():
        y = x.sum(1, keepdim=True) + torch.randn(SAMPLES, 1, generator=generator, dtype=torch.float64)
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    exact = quadratic_llc(gauss_newton_eigenvalues(model, x), SAMPLES / math.log(SAMPLES), 10.0)

    def run(seed: int) -> Estimate:
        loss = slt.gaussian_loss(1.0)
        return slt.estimate_llc(model, (x, y), loss, sampler=sampler, gamma=10.0, seed=seed, progress=False)

    return Problem(f"regression, {sampler}", exact, run)


def problems(quick: bool) -> list[Problem]:
    known = [potential(name) for name in (POTENTIALS[:1] if quick else POTENTIALS)]
    minibatch = () if quick else MINIBATCH
    return [*(problem for problem in known if problem is not None), *(regression(name) for name in minibatch)]


def measure(problem: Problem, runs: int, first_seed: int) -> dict[str, Any]:
    """Over all runs that were not called failed: the estimates that say of themselves that they are none."""
    started, z, relative, statuses = time.monotonic(), [], [], []
    for seed in range(first_seed, first_seed + runs):
        found = problem.run(seed)
        statuses.append(found.status)
        if found.status != "failed":
            z.append((found.llc - problem.exact) / found.std_error)
            relative.append(found.llc / problem.exact - 1)
    return {
        "problem": problem.name,
        "exact": problem.exact,
        "runs": len(z),
        "failed": statuses.count("failed"),
        "warnings": statuses.count("warning"),
        "inside": {name: sum(abs(value) < limit for value in z) for name, limit in INSIDE.items()},
        "mean_z": sum(z) / max(1, len(z)),
        "mean_relative_error": sum(relative) / max(1, len(relative)),
        "seconds": time.monotonic() - started,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=at_least(1), default=28, help="of each problem")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    runs, seed = 1 if quick else options.runs, options.seed
    rows = [
        kept(f"{problem.name}, {runs} runs from seed {seed}", measure, problem, runs, seed)
        for problem in problems(quick)
    ]
    total = sum(row["runs"] for row in rows)
    coverage = {name: sum(row["inside"][name] for row in rows) / max(1, total) for name in INSIDE}
    return {"problems": rows, "runs": total, "coverage": coverage}


def judge(measured: dict[str, Any]) -> Verdict:
    checks = []
    for name, (low, high) in WANTED.items():
        share = measured["coverage"][name]
        text = f"{name} interval: {share:.1%} of {measured['runs']} runs ({low:.0%} to {high:.0%})"
        checks.append((text, low <= share <= high))
    failed = sum(row["failed"] for row in measured["problems"])
    many = (f"{measured['runs']} runs (at least {LEAST_RUNS})", measured["runs"] >= LEAST_RUNS)
    return verdict_of([*checks, many, (f"{failed} runs failed (0)", failed == 0)])


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = [
        (
            row["problem"], f"{row['exact']:.4f}", str(row["runs"]), str(row["inside"]["95%"]),
            str(row["inside"]["50%"]), f"{row['mean_z']:+.2f}", f"{row['mean_relative_error']:+.1%}",
            str(row["warnings"]),
        )
        for row in measured["problems"]
    ]  # fmt: skip
    header = ("problem", "exact", "runs", "inside 95%", "inside 50%", "mean z", "mean error", "with a warning")
    return [Table(header, rows)]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=6.4, height=4.2)
    rows = measured["problems"]
    for name, mark in (("95%", "o"), ("50%", "s")):
        (points,) = axis.plot(
            [row["inside"][name] / max(1, row["runs"]) for row in rows],
            range(len(rows)),
            mark,
            label=f"{name} interval",
        )
        axis.axvline(float(name[:-1]) / 100, color=points.get_color(), linewidth=1, linestyle="--")
    axis.set(xlabel="share of runs whose interval holds the exact answer", xlim=(0, 1.03), yticks=range(len(rows)))
    axis.set_yticklabels([row["problem"] for row in rows])
    axis.legend()
    return figure
