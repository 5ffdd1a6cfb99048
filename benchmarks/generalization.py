"""λ and ν give the errors of learning: data sets without end, exact posterior draws, on a regular and a singular model.

Data are y = ε ~ N(0, 1) at n inputs x spread evenly over [-1, 1]; the truth f = 0 is in both models. The regular one,
f = w·(1, x, x²) with a flat prior, has the Gaussian around least squares as its posterior; the singular one is
f = a² x, drawn from the density of a on a fine grid. The generalization loss of the predictive density is an integral
over y by Gauss-Hermite quadrature at every x. Losses are ½(y - f)², the constant left out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from slt.free_energies.information import information

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="The errors of learning from λ and ν",
    claim="The generalization error G, the training error T and WAIC follow from the learning coefficient λ and the "
    "singular fluctuation ν, for regular and singular models alike.",
    source="Watanabe 2009, 2010; docs/temperatures.md",
    target="E[n(G - L0)] = (λ - ν)/β + ν, E[n(T - L0)] = (λ - ν)/β - ν and E[WAIC] = E[G] within Monte Carlo error.",
    criterion="Reproduced if every relation holds within 4 standard errors, beyond 0.03 λ for terms of the next order "
    "in 1/n and 1/draws; partly if some do.",
    duration="5 minutes",
)
CASES: tuple[tuple[str, float, float], ...] = (  # model, λ, β
    ("regular", 1.5, 1.0), ("regular", 1.5, 0.5), ("singular", 0.25, 1.0), ("singular", 0.25, 0.5),
)  # fmt: skip
SAMPLES, DRAWS = 400, 400
NEXT_ORDER = 0.03  # of λ: in 1/n, and in the predictive density, a mean over the draws, in 1/draws
MAX_Z = 4.0
QUANTITIES = ("generalization", "training", "fluctuation", "waic")


class Replicates:
    """Many data sets of one model, each with as many exact draws of its posterior."""

    def __init__(self, model: str, beta: float, seed: int, n: int, draws: int):
        self.generator, self.beta, self.n, self.draws = np.random.default_rng(seed), beta, n, draws
        self.x = np.linspace(-1, 1, n)
        nodes, weights = np.polynomial.hermite_e.hermegauss(12)
        self.nodes, self.weights = nodes, weights / weights.sum()
        self.sample: Callable[[np.ndarray], np.ndarray] = {"regular": self._regular, "singular": self._singular}[model]

    def one(self) -> tuple[float, float, float, float]:
        """n (G - L0), n (T - L_n(w0)), ν, n (WAIC - L_n(w0)) of one data set."""
        y = self.generator.normal(size=self.n)
        f = self.sample(y)
        result = information(0.5 * (y - f).reshape(2, -1, self.n) ** 2, self.beta)
        at_truth = float((0.5 * y**2).mean())
        # -log E_w exp(-½ (y - f)²) over y ~ N(0, 1) at every x, less the loss ½ y² of the truth
        exponent = self.nodes[:, None, None] * f - 0.5 * f**2  # (nodes, draws, n)
        top = exponent.max(1, keepdims=True)
        log_mean = np.log(np.exp(exponent - top).mean(1)) + top[:, 0]
        return (
            -self.n * float((self.weights @ log_mean).mean()),
            self.n * (result.training_loss - at_truth),
            result.singular_fluctuation,
            self.n * (result.waic - at_truth),
        )

    def _regular(self, y: np.ndarray) -> np.ndarray:
        features = np.stack([np.ones(self.n), self.x, self.x**2], axis=1)
        root = np.linalg.inv(np.linalg.cholesky(self.beta * features.T @ features)).T
        best = np.linalg.lstsq(features, y, rcond=None)[0]
        w = best + self.generator.normal(size=(self.draws, 3)) @ root.T
        return w @ features.T

    def _singular(self, y: np.ndarray) -> np.ndarray:
        grid = np.linspace(-3, 3, 3001)
        f = grid[:, None] ** 2 * self.x
        # Σ (y - a²x)² less its value at a = 0
        log_density = self.beta * (grid**2 * (self.x @ y) - 0.5 * grid**4 * (self.x @ self.x))
        probability = np.exp(log_density - log_density.max())
        return f[self.generator.choice(len(grid), self.draws, p=probability / probability.sum())]


def case(model: str, llc: float, beta: float, sets: int, n: int, draws: int, seed: int) -> dict[str, Any]:
    """Means and standard errors over data sets, and how far each relation is off, (mean, standard error)."""
    replicates = Replicates(model, beta, seed, n, draws)
    values = np.array([replicates.one() for _ in range(sets)]).T
    g, t, nu, waic = values

    def mean(series: np.ndarray) -> tuple[float, float]:
        return float(series.mean()), float(series.std(ddof=1) / math.sqrt(len(series)))

    relations = {
        "G": g - (llc - nu) / beta - nu,
        "T": t - (llc - nu) / beta + nu,
        "WAIC - G": waic - g,
        "G + T": g + t - 2 * (llc - nu) / beta,  # the noise of the data set cancels: the sharp one
    }
    return {
        "model": model, "learning_coefficient": llc, "beta": beta, "sets": sets, "n": n, "draws": draws,
        **{name: mean(series) for name, series in zip(QUANTITIES, values, strict=True)},
        "relations": {name: mean(series) for name, series in relations.items()},
    }  # fmt: skip


def z_scores(found: dict[str, Any]) -> dict[str, float]:
    """Standard errors by which each relation is off beyond terms of the next order."""
    room = NEXT_ORDER * found["learning_coefficient"]
    return {name: max(0.0, abs(mean) - room) / error for name, (mean, error) in found["relations"].items()}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", type=at_least(2), default=600, help="data sets of each case")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    cases, sets, n, draws = (CASES[2:3], 20, 50, 40) if quick else (CASES, options.sets, SAMPLES, DRAWS)
    rows = [
        kept(f"{model}, β = {beta:g}, {sets} sets, seed {options.seed}", case, model, llc, beta, sets, n, draws,
             options.seed)
        for model, llc, beta in cases
    ]  # fmt: skip
    return {"cases": rows}


def judge(measured: dict[str, Any]) -> Verdict:
    checks = []
    for found in measured["cases"]:
        scores = z_scores(found)
        worst = max(scores, key=scores.__getitem__)
        text = f"{found['model']}, β = {found['beta']:g}: largest z {scores[worst]:.1f} ({worst}; below {MAX_Z:g})"
        checks.append((text, scores[worst] < MAX_Z))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    def pair(value: tuple[float, float]) -> str:
        return f"{value[0]:.3f} ± {value[1]:.3f}"

    rows = []
    for found in measured["cases"]:
        llc, beta, nu = found["learning_coefficient"], found["beta"], found["fluctuation"][0]
        difference = (llc - nu) / beta
        rows.append(
            (
                found["model"], f"{llc:g}", f"{beta:g}", pair(found["fluctuation"]), pair(found["generalization"]),
                f"{difference + nu:.3f}", pair(found["training"]), f"{difference - nu:.3f}", pair(found["waic"]),
                pair(found["relations"]["G + T"]),
            )
        )  # fmt: skip
    header = ("model", "λ", "β", "ν", "G", "(λ-ν)/β + ν", "T", "(λ-ν)/β - ν", "WAIC", "G + T - 2(λ-ν)/β")
    first = measured["cases"][0]
    caption = (
        f"Everything times n and less L0; n = {first['n']}, {first['sets']} data sets, {first['draws']} draws each."
    )
    return [Table(header, rows, caption)]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=5.4)
    names = [*measured["cases"][0]["relations"]]
    for k, found in enumerate(measured["cases"]):
        llc = found["learning_coefficient"]
        values = [found["relations"][name] for name in names]
        axis.errorbar(
            [i + 0.15 * (k - 1.5) for i in range(len(names))], [mean / llc for mean, _ in values],
            yerr=[2 * error / llc for _, error in values], fmt="o", ms=4, capsize=3,
            label=f"{found['model']}, β = {found['beta']:g}",
        )  # fmt: skip
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.set_xticks(range(len(names)), names)
    axis.set(ylabel="measured less predicted, over λ", xlabel="bars: 2 standard errors")
    axis.legend(fontsize=8)
    return figure
