"""(λ, m) of two-parameter polynomial networks, exact and by sampling, against the published values and times.

f(x) = W σ(W σ(... W x)) with L factors W = [[a+b, a²], [a², b²]], σ(z) = z^r elementwise, x in R², K = E|f(x)|², at
a = b = 0. The published figures are Table 1 of Sergeant-Perthuis, Tsigaridas & Tsukahara, "Exact Algebraic
Computation of Learning Coefficients for Two-Dimensional Singular Models" (2026), on 2 virtual CPUs.

K is a positive definite quadratic form in the coefficients of f as a polynomial in x, hence comparable to the sum of
their squares, and has the same (λ, m): the coefficients go to `plane_curve` as a list. A time is that of expanding f
and of finding (λ, m), in a process that has imported everything.

By sampling: `slt.estimate_rlct` at its default settings on K itself, r = 2 and L <= 3, beside what the paper got from
devinterp's SGLD (5 chains × 10,000 steps).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flint import Ordering, fmpz_mpoly, fmpz_mpoly_ctx

from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from slt import zoo
from slt.exact import RLCT, plane_curve
from slt.rlct.estimation import estimate_rlct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Learning coefficients of polynomial networks, exact and by sampling",
    claim="`slt exact` gives (λ, m) of two-parameter networks of up to five layers as fractions, faster than was "
    "published; sampling agrees, where the published sampling does not.",
    source="Sergeant-Perthuis, Tsigaridas & Tsukahara 2026, Table 1",
    target="All twelve published λ equal, each in less than its published time; sampled λ within 5% for r = 2, L <= 3.",
    criterion="Reproduced if every λ is equal, every time shorter and every sampled λ within 5%; partly if some are.",
    duration="2 minutes",
)
# (r, L, published λ, published seconds; None where the paper gives no time of its own)
PUBLISHED = [
    (2, 1, "3/4", 0.05),
    (2, 2, "1/4", 0.06),
    (2, 3, "3/28", 0.30),
    (2, 4, "1/20", 5.3),
    (2, 5, "3/124", 220.0),
    (3, 1, "3/4", None),
    (3, 2, "3/16", 0.15),
    (3, 3, "3/52", 4.7),
    (3, 4, "3/160", 1173.0),
    (4, 1, "3/4", None),
    (4, 2, "3/20", 0.08),
    (4, 3, "1/28", 18.6),
]
# λ̂ and seconds of devinterp's SGLD in the same table, r = 2
PUBLISHED_SAMPLING = {1: (0.677, 461), 2: (0.154, 430), 3: (0.038, 421)}


@dataclass(frozen=True)
class Row:
    """One network: what was found, what was published."""

    power: int
    layers: int
    learning_coefficient: str
    multiplicity: int
    seconds: float
    published: str
    published_seconds: float | None


def output_coefficients(power: int, layers: int) -> list[fmpz_mpoly]:
    """Return the coefficients, polynomials in a and b, of the network's two outputs for the input (1, t).

    The outputs are homogeneous in x, so setting x = (1, t) merges no monomials.
    """
    context = fmpz_mpoly_ctx.get(["a", "b", "t"], Ordering.lex)
    a, b, t = context.gens()
    first, second = a**0, t
    for layer in range(layers):
        if layer:
            first, second = first**power, second**power
        first, second = (a + b) * first + a**2 * second, a**2 * first + b**2 * second
    plane = fmpz_mpoly_ctx.get(["a", "b"], Ordering.lex)
    coefficients = []
    for output in (first, second):
        by_degree: dict[int, dict[tuple[int, int], int]] = defaultdict(dict)
        for (i, j, degree), value in zip(output.monoms(), output.coeffs(), strict=True):
            by_degree[degree][i, j] = value
        coefficients += [plane.from_dict(terms) for terms in by_degree.values()]
    return coefficients


def network(power: int, layers: int) -> RLCT:
    """Return the exact (λ, m) at a = b = 0."""
    return plane_curve(output_coefficients(power, layers), "a", "b")


def measure(power: int, layers: int, published: str, published_seconds: float | None) -> Row:
    start = perf_counter()
    rlct = network(power, layers)
    seconds = perf_counter() - start
    coefficient = str(Fraction(rlct.learning_coefficient))
    return Row(power, layers, coefficient, rlct.multiplicity, seconds, published, published_seconds)


def sample(layers: int, seed: int) -> dict[str, Any]:
    """(λ, m) by sampling at r = 2."""
    model = zoo.get(f"polynomial-network-L{layers}-r2")
    found = estimate_rlct(model.potential, model.center, seed=seed)
    return {
        "layers": layers, "learning_coefficient": found.learning_coefficient, "std_error": found.std_error,
        "multiplicity": found.multiplicity, "status": found.status, "seconds": found.seconds,
        "exact": float(model.rlct.learning_coefficient),
    }  # fmt: skip


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    network(2, 1)  # the first call pays for caches that belong to no network
    chosen = [row for row in PUBLISHED if row[1] <= 3] if quick else PUBLISHED
    networks = [kept(f"r = {row[0]}, L = {row[1]}", measure, *row) for row in chosen]
    sampled = [] if quick else list(PUBLISHED_SAMPLING)
    seed = options.seed
    return {"networks": networks, "sampled": [kept(f"sampled, L = {k}, seed {seed}", sample, k, seed) for k in sampled]}


def judge(measured: dict[str, Any]) -> Verdict:
    rows = measured["networks"]
    timed = [row for row in rows if row["published_seconds"] is not None]
    equal = sum(row["learning_coefficient"] == row["published"] for row in rows)
    faster = sum(row["seconds"] < row["published_seconds"] for row in timed)
    checks = [
        (f"{equal} of {len(rows)} published λ equal (all)", equal == len(rows)),
        (f"{faster} of {len(timed)} faster than published (all)", faster == len(timed)),
    ]
    if measured["sampled"]:
        worst = max((row["learning_coefficient"] / row["exact"] - 1 for row in measured["sampled"]), key=abs)
        checks.append((f"sampled λ, L <= 3, worst {worst:+.1%} (5%)", abs(worst) <= 0.05))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = []
    for row in measured["networks"]:
        limit = row["published_seconds"]
        times = (f"{limit:g}", f"{limit / row['seconds']:.0f}×") if limit else ("", "")
        found = (row["learning_coefficient"], str(row["multiplicity"]), f"{row['seconds']:.4f}", row["published"])
        rows.append((str(row["power"]), str(row["layers"]), *found, *times))
    sampled = []
    for row in measured["sampled"]:
        value, seconds = PUBLISHED_SAMPLING[row["layers"]]
        own = (f"{row['learning_coefficient']:.4f} ± {row['std_error']:.4f}", str(row["multiplicity"]))
        error = f"{row['learning_coefficient'] / row['exact'] - 1:+.1%}"
        published = (f"{value:g}", f"{value / row['exact'] - 1:+.0%}", str(seconds))
        sampled.append((str(row["layers"]), f"{row['exact']:.4f}", *own, error, f"{row['seconds']:.0f}", *published))
    header = ("r", "L", "λ", "m", "seconds", "published λ", "published seconds", "faster")
    found = [Table(header, rows, "Exact.")]
    if sampled:
        header = ("L", "λ", "sampled λ", "m", "error", "seconds", "published λ̂ (SGLD)", "error", "seconds")
        found.append(Table(header, sampled, "By sampling, r = 2; m is 1."))
    return found


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis, other) = figures.new(2)
    for power, mark in ((2, "o"), (3, "s"), (4, "^")):
        rows = [row for row in measured["networks"] if row["power"] == power]
        layers = [row["layers"] for row in rows]
        (line,) = axis.semilogy(layers, [row["seconds"] for row in rows], f"{mark}-", label=f"r = {power}, here")
        published = [(row["layers"], row["published_seconds"]) for row in rows if row["published_seconds"]]
        axis.semilogy(*zip(*published, strict=True), f"{mark}--", color=line.get_color(), alpha=0.5, label="published")
    axis.set(xlabel="layers L", ylabel="seconds for the exact (λ, m)", xticks=range(1, 6))
    axis.legend(fontsize=8)
    layers = [row["layers"] for row in measured["sampled"]]
    other.semilogy(layers, [row["exact"] for row in measured["sampled"]], "k_", ms=24, label="exact")
    other.semilogy(layers, [row["learning_coefficient"] for row in measured["sampled"]], "o", label="sampled, here")
    other.semilogy(layers, [PUBLISHED_SAMPLING[k][0] for k in layers], "x", label="SGLD, published")
    other.set(xlabel="layers L (r = 2)", ylabel="λ", xticks=layers)
    other.legend(fontsize=8)
    return figure
