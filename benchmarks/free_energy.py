"""Local free energies by three methods against quadrature and closed forms, over seeds.

Potentials of the zoo at n = 100,000 and γ = 1, and the digits network 64-32-10 linearized at its trained weights,
whose free energy is ½ Σ log(1 + nβ h_i/γ) exactly. A row says how often the answer lies within 0.05 nats + 1%, and
whether z = (estimate - exact)/error scatters as it should: its root mean square over seeds is 1 for honest errors.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import slt
from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from slt import zoo
from slt.free_energies.estimate import FreeEnergyEstimate
from slt.free_energies.local import free_energy_of_potential
from slt.linearized import Linearized, gauss_newton_eigenvalues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Local free energies against exact answers",
    claim="A ladder of temperatures gives the local free energy in nats by three methods that agree, with honest "
    "errors.",
    source="docs/temperatures.md",
    target="Within 0.05 nats + 1% of quadrature or closed form in 95% of runs; no method further than 4 of its own "
    "errors.",
    criterion="Reproduced if both hold and no two methods contradict each other in any run; partly if some of "
    "these hold.",
    duration="15 minutes",
)
SAMPLES = 100_000
POTENTIALS = (
    "quadratic-10-ill",
    "crossing-2-2",
    "crossing-2-2-2",
    "crossing-2-4",
    "crossing-4-4",
    "sum-of-crossings",
    "norms-3-3",
    "reduced-rank-2-2-2-r0",
)
NETWORK = "linearized digits"


@dataclass(frozen=True)
class Row:
    """One model over all seeds."""

    model: str
    dimension: int
    exact: float
    mean: float
    std_error: float  # of one run, on average
    within: float  # share of runs within 0.05 nats + 1%
    rms_z: dict[str, float]
    max_z: float
    agree: int  # runs in which no two methods contradict each other
    runs: int
    statuses: dict[str, int]
    rungs: int
    draws: float
    seconds: float


def measure(model: str, dimension: int, exact: float, seeds: range, run: Callable[[int], FreeEnergyEstimate]) -> Row:
    """Run all seeds of one model."""
    started = time.monotonic()
    runs = [run(seed) for seed in seeds]
    z = {name: np.array([(r.methods[name][0] - exact) / r.methods[name][1] for r in runs]) for name in runs[0].methods}
    values = np.array([r.free_energy for r in runs])
    statuses = [r.status for r in runs]
    return Row(
        model=model,
        dimension=dimension,
        exact=exact,
        mean=float(values.mean()),
        std_error=float(np.mean([r.std_error for r in runs])),
        within=float((np.abs(values - exact) <= 0.05 + 0.01 * abs(exact)).mean()),
        rms_z={name: float(np.sqrt((values**2).mean())) for name, values in z.items()},
        max_z=float(max(np.abs(values).max() for values in z.values())),
        agree=sum(not any("differ by" in reason for reason in r.reasons) for r in runs),
        runs=len(runs),
        statuses={status: statuses.count(status) for status in sorted(set(statuses))},
        rungs=runs[0].rungs,
        draws=float(np.mean([r.draws for r in runs])),
        seconds=(time.monotonic() - started) / len(seeds),
    )


def potential(name: str, seeds: range) -> Row:
    """A potential of the zoo."""
    model = zoo.get(name)

    def run(seed: int) -> FreeEnergyEstimate:
        knobs = {"gamma": 1.0, "target_error": 0.01, "seed": seed, "progress": False}
        return free_energy_of_potential(model.potential, model.center, SAMPLES, **knobs)

    return measure(name, model.dimension, model.free_energy(float(SAMPLES)), seeds, run)


def linearized_digits(seeds: range) -> Row:
    """The digits network at β = 1/log n and γ = 100, trained for some seconds, then linearized in float64."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16), torch.tensor(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()
    optimizer = torch.optim.Adam(network.parameters(), 0.005)
    for _ in range(500):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
    model = Linearized(network)
    with torch.no_grad():
        outputs = model(inputs)
    n_beta, gamma = len(inputs) / math.log(len(inputs)), 100.0
    h = gauss_newton_eigenvalues(network, inputs)

    def run(seed: int) -> FreeEnergyEstimate:
        knobs = {"gamma": gamma, "beta": n_beta / len(inputs), "chains": 4, "draws": 60, "seed": seed}
        return slt.free_energy(model, (inputs, outputs), slt.gaussian_loss(1.0), progress=False, **knobs)

    return measure(NETWORK, len(h), 0.5 * float(torch.log1p(n_beta * h / gamma).sum()), seeds, run)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--network", action="store_true", help="the linearized digits network too, one seed: minutes")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    names = POTENTIALS[1:2] if quick else POTENTIALS
    seeds = range(options.seed, options.seed + (1 if quick else options.seeds))
    rows = [kept(f"{name}, {len(seeds)} seeds from {seeds.start}", potential, name, seeds) for name in names]
    if options.network:
        rows.append(kept(f"{NETWORK}, seed {seeds.start}", linearized_digits, seeds[:1]))
    return {"rows": rows}


def judge(measured: dict[str, Any]) -> Verdict:
    rows = measured["rows"]
    runs, worst = sum(row["runs"] for row in rows), max(row["max_z"] for row in rows)
    within = sum(round(row["within"] * row["runs"]) for row in rows)
    agree = sum(row["agree"] for row in rows)
    return verdict_of(
        [
            (f"{within} of {runs} runs within 0.05 nats + 1% (95%)", within >= 0.95 * runs),
            (f"largest |z| of any method {worst:.1f} (at most 4)", worst <= 4),
            (f"all methods agree in {agree} of {runs} runs (all)", agree == runs),
        ]
    )


def tables(measured: dict[str, Any]) -> list[Table]:
    header = ("model", "d", "exact F", "mean F", "± one run", "within", *measured["rows"][0]["rms_z"], "max z", "agree")
    rows = [
        (
            row["model"], str(row["dimension"]), f"{row['exact']:.3f}", f"{row['mean']:.3f}", f"{row['std_error']:.3f}",
            f"{row['within']:.0%}", *(f"{value:.2f}" for value in row["rms_z"].values()), f"{row['max_z']:.1f}",
            f"{row['agree']}/{row['runs']}",
        )
        for row in measured["rows"]
    ]  # fmt: skip
    return [Table(header, rows, "Nats. Under each method: root mean square over seeds of (estimate − exact)/error.")]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=6.4, height=3.8)
    rows = measured["rows"]
    error = [row["mean"] - row["exact"] for row in rows]
    axis.errorbar(error, range(len(rows)), xerr=[row["std_error"] for row in rows], fmt="o", capsize=3)
    allowed = [0.05 + 0.01 * abs(row["exact"]) for row in rows]
    axis.plot(allowed, range(len(rows)), "|", [-a for a in allowed], range(len(rows)), "|", color="gray", markersize=14)
    axis.axvline(0, color="gray", linewidth=1)
    axis.set(xlabel="mean F − exact F, nats; bars: error of one run; ticks: 0.05 + 1%", yticks=range(len(rows)))
    axis.set_yticklabels([row["model"] for row in rows])
    return figure
