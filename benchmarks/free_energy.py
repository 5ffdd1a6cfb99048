"""Local free energies by three methods against quadrature and closed forms, over seeds.

Potentials of the zoo at n = 100,000 and γ = 1, and the digits network 64-32-10 linearized at its trained weights,
whose free energy is ½ Σ log(1 + nβ h_i/γ) exactly. A row says how often the answer lies within 0.05 nats + 1%, and
whether z = (estimate - exact)/error scatters as it should: its root mean square over seeds is 1 for honest errors.

    python -m benchmarks.free_energy [--quick] [--seeds 10] [--network] [--output benchmarks/results/free_energy.json]

Rows that the output file holds already, of as many seeds, are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import slt
from slt import zoo
from slt.free_energies.estimate import FreeEnergyEstimate
from slt.free_energies.local import free_energy_of_potential
from slt.linearized import Linearized, gauss_newton_eigenvalues

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


def measure(model: str, dimension: int, exact: float, seeds: int, run: Callable[[int], FreeEnergyEstimate]) -> Row:
    """Run all seeds of one model."""
    started = time.monotonic()
    runs = [run(seed) for seed in range(seeds)]
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
        seconds=(time.monotonic() - started) / seeds,
    )


def potential(name: str, seeds: int) -> Row:
    """A potential of the zoo."""
    model = zoo.get(name)

    def run(seed: int) -> FreeEnergyEstimate:
        knobs = {"gamma": 1.0, "target_error": 0.01, "seed": seed, "progress": False}
        return free_energy_of_potential(model.potential, model.center, SAMPLES, **knobs)

    return measure(name, model.dimension, model.free_energy(float(SAMPLES)), seeds, run)


def linearized_digits(seeds: int) -> Row:
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


HEADER = (
    f"{'model':24} {'d':>5} {'exact F':>8} {'mean F':>8} {'± one run':>9} {'within':>6} {'rms z (MBAR, TI, SS)':>21} "
    f"{'max z':>5} {'agree':>7} {'rungs':>5} {'draws':>6} {'s':>6}"
)


def line(row: Row) -> str:
    scatter = ", ".join(f"{value:.2f}" for value in row.rms_z.values())
    return (
        f"{row.model:24} {row.dimension:5d} {row.exact:8.3f} {row.mean:8.3f} {row.std_error:9.3f} {row.within:6.0%} "
        f"{scatter:>21} {row.max_z:5.1f} {row.agree:3d}/{row.runs:<3d} {row.rungs:5d} {row.draws:6.0f} "
        f"{row.seconds:6.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Local free energies against exact answers")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--network", action="store_true", help="the linearized digits network too, one seed: minutes")
    parser.add_argument("--output", type=Path, help="write the table as JSON")
    parser.add_argument("--quick", action="store_true", help="two potentials, two seeds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names, seeds = (POTENTIALS[:2], 2) if arguments.quick else (POTENTIALS, arguments.seeds)
    known: dict[str, Row] = {}
    if arguments.output and arguments.output.exists():
        known = {row["model"]: Row(**row) for row in json.loads(arguments.output.read_text())["rows"]}
    print(HEADER)
    rows = []
    for name in (*names, *([NETWORK] if arguments.network or NETWORK in known else [])):
        wanted = 1 if name == NETWORK else seeds
        if name in known and known[name].runs == wanted:
            rows.append(known[name])
        else:
            rows.append(linearized_digits(1) if name == NETWORK else potential(name, seeds))
        print(line(rows[-1]), flush=True)
        if arguments.output:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            table = {"command": "python -m benchmarks.free_energy", "rows": [asdict(row) for row in rows]}
            arguments.output.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(row.max_z < 4 for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
