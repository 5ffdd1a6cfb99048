"""How often the 95% and the 50% interval of `estimate_llc` hold the finite-n answer, with nothing set but the seed.

Problems whose answer at n samples is a closed form or a quadrature: analytic potentials of the zoo (full-data HMC), and
a linear regression under minibatches (SGLD, with and without control variates; SGHMC), where the bias of the step is
part of what the interval has to cover.

    python -m benchmarks.coverage [--quick] [--runs 26] [--output benchmarks/results/coverage.json]
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import slt
from slt import zoo
from slt.linearized import gauss_newton_eigenvalues, quadratic_llc
from slt.llc.estimate import Estimate
from slt.llc.estimation import estimate_potential

SAMPLES, GAMMA = 2_000, 1.0
POTENTIALS = (
    "quadratic-10-ill", "crossing-2-2", "norms-3-3", "x6-x2y2-y6", "a2b", "tanh-2", "reduced-rank-3-2-2-r0",
    "deep-linear-1-1-1-1-r0",
)  # fmt: skip
MINIBATCH = ("sgld", "sgld-cv", "sghmc")
WIDTH = 6
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


def problems() -> list[Problem]:
    known = [potential(name) for name in POTENTIALS]
    return [*(problem for problem in known if problem is not None), *(regression(name) for name in MINIBATCH)]


def measure(problem: Problem, runs: int) -> dict:
    """Over all runs that were not called failed: the estimates that say of themselves that they are none."""
    started, z, relative, statuses = time.monotonic(), [], [], []
    for seed in range(runs):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four runs of each problem")
    parser.add_argument("--runs", type=int, default=28, help="runs of each problem")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/coverage.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for problem in problems():
        rows.append(measure(problem, 4 if arguments.quick else arguments.runs))
        row = rows[-1]
        shares = ", ".join(f"{name}: {count / max(1, row['runs']):.0%}" for name, count in row["inside"].items())
        print(
            f"{row['problem']:26s} exact {row['exact']:.4f}  {row['runs']} runs  inside {shares}"
            f"  mean z {row['mean_z']:+.2f}  mean error {row['mean_relative_error']:+.1%}  {row['seconds']:.0f} s",
            flush=True,
        )
    total = sum(row["runs"] for row in rows)
    coverage = {name: sum(row["inside"][name] for row in rows) / max(1, total) for name in INSIDE}
    print(f"{len(rows)} problems, {total} runs: " + ", ".join(f"{k}: {v:.1%}" for k, v in coverage.items()))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"problems": rows, "runs": total, "coverage": coverage, "quick": arguments.quick}
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
