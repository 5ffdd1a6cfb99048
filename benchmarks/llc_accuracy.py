"""λ̂ with nothing set but the seed, against the finite-n answer: closed form, quadrature, or a run 50 times as long.

Regressions of the zoo go through the network path, noise-free with the inputs' second moments exact, so that
quadrature holds for the sample. The linearized digits network has a closed form. The others (`llc_networks.py`) are
held against full-data HMC of 50 times the draws, whose own error is counted in.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import slt
from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from benchmarks.llc_networks import DIGITS_STEPS, trained
from slt import zoo
from slt.linearized import Linearized, gauss_newton_eigenvalues, quadratic_llc
from slt.validation import whitened_inputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Accuracy of estimate_llc with nothing set",
    claim="slt.estimate_llc(model, data) is right to a few percent, on any model, without a knob, and spends little "
    "of its work on choosing.",
    source="README, 'What the number means'",
    target="Median relative error against the finite-n reference at most 3%, worst at most 10%; at most 30% of the "
    "gradients on the automatic part.",
    criterion="Reproduced if, over all problems and seeds, the median relative error is at most 3%, the largest at "
    "most 10%, and the median share of the automatic part at most 30% on every problem; partly if some of these hold.",
    duration="2 hours",
)
LONGER = 50  # times the draws of the longest estimate
REFERENCE_SEED = 1_000_003
REGRESSIONS = (
    ("a2b", 1_000), ("tanh-2", 1_000), ("reduced-rank-3-2-2-r0", 5_000), ("linear-regression-20-ill", 10_000),
    ("deep-linear-1-1-1-1-r0", 20_000), ("reduced-rank-3-2-3-r0", 50_000), ("a2b", 50_000),
)  # fmt: skip
NETWORKS = (
    "logistic-regression", "superposition-5-gon", "superposition-6-gon",
    *(f"digits-mlp-{step}" for step in DIGITS_STEPS), "digits-cnn", "character-transformer",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A model on data, and its exact λ̂(β, γ); None where only a long run knows it."""

    name: str
    model: nn.Module
    data: Any
    loss: Any
    exact: Callable[[float, float], float] | None = None

    def estimate(self, seed: int, draws: int | None = None) -> slt.Estimate:
        longer = {} if draws is None else {"draws": draws, "max_steps": 10**9}
        return slt.estimate_llc(self.model, self.data, self.loss, seed=seed, progress=False, **longer)


def regression(name: str, n: int) -> Problem:
    model = zoo.get(name)
    assert model.regression is not None
    network = model.regression.module(torch.float64)
    inputs = whitened_inputs(model, n)
    with torch.no_grad():
        data = (inputs, network(inputs))
    return Problem(f"{name}, n = {n}", network, data, model.regression.loss(), lambda t, g: model.mean_potential(t, g))


def linearized() -> Problem:
    module, network = trained(f"digits-mlp-{DIGITS_STEPS[-1]}")
    model, x = Linearized(module.double()), network.data()[0].double()
    with torch.no_grad():
        data = (x, model(x))
    curvature = gauss_newton_eigenvalues(module, x)
    exact = cache(lambda t, g: quadratic_llc(curvature, t, g))
    return Problem("linearized digits MLP", model, data, slt.gaussian_loss(1.0), exact)


def real(name: str) -> Problem:
    module, network = trained(name)
    return Problem(name, module, network.data(), network.loss)


def problems(quick: bool) -> list[Callable[[], Problem]]:
    if quick:
        return [partial(regression, "linear-regression-5", 1_000), partial(real, "superposition-6-gon")]
    return [
        *(partial(regression, name, n) for name, n in REGRESSIONS),
        linearized,
        *(partial(real, name) for name in NETWORKS),
    ]


def measure(problem: Problem, seed: int) -> dict[str, Any]:
    found = problem.estimate(seed)
    return {
        "llc": found.llc, "std_error": found.std_error, "status": found.status, "reasons": found.reasons,
        "n": found.n, "dimension": found.dimension, "beta": found.beta, "gamma": found.gamma,
        "sampler": found.sampler, "preconditioner": found.preconditioner, "draws": found.draws,
        "gradients": found.gradients, "overhead": found.overhead, "seconds": found.seconds,
    }  # fmt: skip


def reference(problem: Problem, like: dict[str, Any], longer: int) -> dict[str, Any]:
    """The answer at the scale of an estimate `like`, and its error."""
    if problem.exact is not None:
        return {"llc": problem.exact(like["n"] * like["beta"], like["gamma"]), "std_error": 0.0, "how": "exact"}
    found = problem.estimate(REFERENCE_SEED, longer * like["draws"])
    how = f"{found.sampler}, {found.chains} chains × {found.draws} draws"
    return {"llc": found.llc, "std_error": found.std_error, "how": how}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=at_least(1), default=2)


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    seeds, rows = (1 if quick else options.seeds), []
    for make in problems(quick):
        problem = make()
        runs = [
            kept(f"{problem.name}, seed {seed}", measure, problem, seed)
            for seed in range(options.seed, options.seed + seeds)
        ]
        longest = max(runs, key=lambda one: one["draws"])
        times = 4 if quick else LONGER
        known = kept(f"reference of {problem.name}, {times} times", reference, problem, longest, times)
        rows.append({"problem": problem.name, "reference": known, "runs": runs})
    return {"problems": rows}


def errors(row: dict[str, Any]) -> list[float]:
    """Relative errors of the runs of a problem, with their sign."""
    return [run["llc"] / row["reference"]["llc"] - 1 for run in row["runs"]]


def judge(measured: dict[str, Any]) -> Verdict:
    rows = measured["problems"]
    sizes = [abs(error) for row in rows for error in errors(row)]
    dear = {row["problem"]: median(run["overhead"] for run in row["runs"]) for row in rows}
    above = [f"{name} {share:.0%}" for name, share in dear.items() if share > 0.30]
    share = f"automatic part at most 30% on {len(dear) - len(above)} of {len(dear)} problems"
    return verdict_of([
        (f"median relative error {median(sizes):.1%} (3%)", median(sizes) <= 0.03),
        (f"largest {max(sizes):.1%} (10%)", max(sizes) <= 0.10),
        (share + (f", above it on {', '.join(above)}" if above else ""), not above),
    ])  # fmt: skip


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = []
    for row in measured["problems"]:
        runs, known = row["runs"], row["reference"]
        z = [
            (run["llc"] - known["llc"]) / math.hypot(run["std_error"], known["std_error"])
            for run in runs
        ]  # fmt: skip
        uncertain = f" ± {known['std_error']:.2g}" if known["std_error"] else ""
        rows.append((
            row["problem"], str(runs[0]["dimension"]), f"{runs[0]['gamma']:.3g}", f"{known['llc']:.4g}{uncertain}",
            known["how"], ", ".join(f"{run['llc']:.4g}" for run in runs),
            ", ".join(f"{error:+.1%}" for error in errors(row)), f"{max(z, key=abs):+.1f}",
            runs[0]["preconditioner"], f"{median(run['gradients'] for run in runs):.0f}",
            f"{median(run['overhead'] for run in runs):.0%}", ", ".join(sorted({run["status"] for run in runs})),
        ))  # fmt: skip
    header = (
        "problem", "d", "γ", "reference", "by", "λ̂", "error", "largest z", "metric", "gradients", "automatic", "status",
    )  # fmt: skip
    return [Table(header, rows)]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=6.8, height=5.2)
    rows = measured["problems"]
    for place, row in enumerate(rows):
        known = row["reference"]["llc"]
        for shift, (run, error) in enumerate(zip(row["runs"], errors(row), strict=True)):
            axis.errorbar(
                100 * error, place + 0.2 * (shift - 0.5), xerr=196 * run["std_error"] / known, fmt="o", color="C0", ms=3
            )
    axis.axvline(0, color="0.4", linewidth=1)
    for bound in (-10, 10):
        axis.axvline(bound, color="0.7", linewidth=1, linestyle="--")
    axis.set(xlabel="relative error of λ̂ with its 95% interval, %", yticks=range(len(rows)))
    axis.set_yticklabels([row["problem"] for row in rows])
    axis.invert_yaxis()
    return figure
