"""λ and m by `estimate_rlct` against exact answers, over seeds, with the time it takes.

All potentials of the zoo with m <= 4 and d <= 20 that the localizer can be held to, the polynomial networks beside the
figures published for SGLD, and the 15-parameter machine at its five truths. A run passes where λ is within 2% or 0.01
and m is exact; a warning is an answer that the program itself does not vouch for. Seconds are those of one CPU.

    python -m benchmarks.rlct_accuracy [--quick] [--seeds 3] [--volumes 3] [--models a,b] [--output FILE.json]

Runs that the output file holds already are kept, and only those missing are run. The second route, by volumes, has no
part in λ and m, only in the verdict: it is taken for the first seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from samplers.errors import InputError
from slt import zoo
from slt.rlct.estimation import GAMMA, estimate_rlct
from slt.zoo import AnalyticModel

# λ and seconds published for devinterp's SGLD, 5 chains × 10,000 steps on 2 virtual CPUs: Table 1 of
# Sergeant-Perthuis, Tsigaridas & Tsukahara, "Exact Algebraic Computation of Learning Coefficients for Two-Dimensional
# Singular Models" (2026).
PUBLISHED: dict[str, tuple[float, float | None]] = {
    "polynomial-network-L1-r2": (0.677, 461.0),
    "polynomial-network-L2-r2": (0.154, 430.0),
    "polynomial-network-L3-r2": (0.038, 421.0),
    "polynomial-network-L4-r2": (0.014, 473.0),
    "polynomial-network-L2-r3": (0.081, None),
    "polynomial-network-L2-r4": (0.093, None),
}
MACHINE = ("machine-zero", "machine-linear", "machine-quartic", "machine-full", "machine-zero-generic")
LOCAL_GAMMA = 10_000.0  # for centres that are minima of their surroundings only
QUICK = ("quadratic-1", "crossing-2-2", "sum-w2-w4", "polynomial-network-L1-r2")
MAX_DIMENSION, MAX_MULTIPLICITY = 20, 4


@dataclass(frozen=True)
class Run:
    """One model, one seed."""

    model: str
    seed: int
    learning_coefficient: float
    multiplicity: int
    probability: float  # of the exact m
    std_error: float
    by_volume: float | None
    status: str
    reasons: list[str]
    particles: int
    log_t: float
    seconds: float
    mean_multiplicity: float | None = None  # over the posterior
    multiplicity_given: int | None = None  # the most probable m where the exact λ is given
    probability_given: float | None = None  # of the exact m, likewise


def models() -> list[AnalyticModel]:
    """The potentials of the benchmark, the machine last."""
    chosen = [
        model
        for model in zoo.models()
        if model.name in PUBLISHED
        or (
            model.dimension <= MAX_DIMENSION
            and model.rlct.multiplicity <= MAX_MULTIPLICITY
            and model.group not in ("machine", "machine-network", "polynomial-network")
            and not model.name.startswith(
                ("machine", "superposition-4")
            )  # superposition-4 is on kinks: slow to converge
        )
    ]
    return chosen + [zoo.get(name) for name in MACHINE]


def measure(model: AnalyticModel, seed: int, volume: bool = True) -> Run:
    """Estimate at the default settings, if need be without the second route, on which λ and m do not depend."""
    gamma = LOCAL_GAMMA if model.note.startswith("a local minimum") else GAMMA
    started = time.process_time()
    estimate = estimate_rlct(model.potential, model.center, gamma=gamma, seed=seed, volume=volume)
    probabilities = estimate.multiplicity_probabilities
    try:
        given = estimate.multiplicity_given(float(model.rlct.learning_coefficient))
    except InputError:
        given = {}
    return Run(
        model=model.name,
        seed=seed,
        learning_coefficient=estimate.learning_coefficient,
        multiplicity=estimate.multiplicity,
        probability=probabilities.get(model.rlct.multiplicity, 0.0),
        std_error=estimate.std_error,
        by_volume=estimate.volume.learning_coefficient if estimate.volume else None,
        status=estimate.status,
        reasons=estimate.reasons,
        particles=estimate.particles,
        log_t=float(estimate.curve.log_t[-1]),
        seconds=time.process_time() - started,
        mean_multiplicity=sum(m * p for m, p in probabilities.items()) if probabilities else None,
        multiplicity_given=max(given, key=given.__getitem__) if given else None,
        probability_given=given.get(model.rlct.multiplicity, 0.0) if given else None,
    )


def passes(run: Run, model: AnalyticModel) -> tuple[bool, bool]:
    """Whether λ is within 2% or 0.01, and whether m is exact."""
    exact = float(model.rlct.learning_coefficient)
    return (
        abs(run.learning_coefficient - exact) <= max(0.02 * exact, 0.01),
        run.multiplicity == model.rlct.multiplicity,
    )


def summary(model: AnalyticModel, runs: list[Run]) -> dict[str, object]:
    """One row of the table."""
    exact = float(model.rlct.learning_coefficient)
    good = [passes(run, model) for run in runs]
    published = PUBLISHED.get(model.name)
    return {
        "model": model.name,
        "dimension": model.dimension,
        "learning_coefficient": str(model.rlct.learning_coefficient),
        "multiplicity": model.rlct.multiplicity,
        "seeds": len(runs),
        "passed": sum(a and b for a, b in good),
        "lambda_passed": sum(a for a, _ in good),
        "m_passed": sum(b for _, b in good),
        "vouched_for": sum(run.status == "ok" for run in runs),
        "vouched_for_and_wrong": sum(
            run.status == "ok" and not (a and b) for run, (a, b) in zip(runs, good, strict=True)
        ),
        "median_relative_error": median(abs(run.learning_coefficient - exact) / exact for run in runs),
        "median_learning_coefficient": median(run.learning_coefficient for run in runs),
        "median_multiplicity": median(run.multiplicity for run in runs),
        "mean_multiplicity": _mean([run.mean_multiplicity for run in runs]),
        "m_given_lambda": [run.multiplicity_given for run in runs],
        "seconds": median(run.seconds for run in runs),
        "published_sgld": None if published is None else published[0],
        "published_seconds": None if published is None else published[1],
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


HEADER = (
    f"{'model':27} {'d':>2} {'λ':>5} {'m':>2} {'passed':>7} {'λ ok':>5} {'m ok':>5} {'vouched':>7} {'wrong':>5} "
    f"{'|error|':>7} {'median λ':>8} {'m':>4} {'E[m]':>5} {'s':>5}  published"
)


def line(row: dict[str, object]) -> str:
    """One row as text."""
    n = row["seeds"]
    mean = "" if row["mean_multiplicity"] is None else f"{row['mean_multiplicity']:.2f}"
    published = ""
    if row["published_sgld"] is not None:
        seconds = row["published_seconds"]
        published = f"SGLD {row['published_sgld']}" + (f", {seconds:.0f} s" if seconds is not None else "")
    return (
        f"{row['model']:27} {row['dimension']:2d} {row['learning_coefficient']:>5} {row['multiplicity']:2d} "
        f"{row['passed']:3d}/{n:<3d} {row['lambda_passed']:5d} {row['m_passed']:5d} {row['vouched_for']:7d} "
        f"{row['vouched_for_and_wrong']:5d} {row['median_relative_error']:7.2%} "
        f"{row['median_learning_coefficient']:8.4f} {row['median_multiplicity']:4g} {mean:>5} "
        f"{row['seconds']:5.1f}  {published}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="λ and m by estimate_rlct against exact answers")
    parser.add_argument("--quick", action="store_true", help="four models")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=3, help="seeds for which the second route is taken too")
    parser.add_argument("--models", help="names, separated by commas")
    parser.add_argument("--output", type=Path, help="write the table and all runs as JSON; runs it holds are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.models.split(",") if arguments.models else QUICK if arguments.quick else None
    chosen = models() if names is None else [zoo.get(name) for name in names]
    runs: list[Run] = []
    if arguments.output and arguments.output.exists():
        runs = [Run(**run) for run in json.loads(arguments.output.read_text())["runs"]]
    done = {(run.model, run.seed) for run in runs}
    for seed in range(arguments.seeds):
        for model in chosen:
            if (model.name, seed) in done:
                continue
            run = measure(model, seed, seed < arguments.volumes)
            runs.append(run)
            print(f"{run.model:27} seed {seed}: λ = {run.learning_coefficient:.4f} ± {run.std_error:.2g} (exact "
                  f"{model.rlct.learning_coefficient}), m = {run.multiplicity} ({model.rlct.multiplicity}), "
                  f"{run.status}, {run.seconds:.1f} s", flush=True)  # fmt: skip
            if arguments.output:
                save(runs, arguments.output)
    print(f"\n{HEADER}")
    for row in table(runs):
        print(line(row))
    return 0


def table(runs: list[Run]) -> list[dict[str, object]]:
    """Rows in the order in which models first appear."""
    names = dict.fromkeys(run.model for run in runs)
    return [summary(zoo.get(name), [run for run in runs if run.model == name]) for name in names]


def save(runs: list[Run], path: Path) -> None:
    """Write the table and the runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"command": "python -m benchmarks.rlct_accuracy", "table": table(runs), "runs": [asdict(r) for r in runs]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
