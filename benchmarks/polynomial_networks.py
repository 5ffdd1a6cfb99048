"""Exact (λ, m) of two-parameter polynomial networks, against the published values and times.

f(x) = W σ(W σ(... W x)) with L factors W = [[a+b, a²], [a², b²]], σ(z) = z^r elementwise, x in R², K = E|f(x)|², at
a = b = 0. The published figures are Table 1 of Sergeant-Perthuis, Tsigaridas & Tsukahara, "Exact Algebraic
Computation of Learning Coefficients for Two-Dimensional Singular Models" (2026), on 2 virtual CPUs.

K is a positive definite quadratic form in the coefficients of f as a polynomial in x, hence comparable to the sum of
their squares, and has the same (λ, m): the coefficients go to `plane_curve` as a list. A time is that of expanding f
and of finding (λ, m), in a process that has imported everything.
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
from slt.exact import RLCT, plane_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Exact learning coefficients of polynomial networks",
    claim="`slt exact` gives (λ, m) of two-parameter networks of up to five layers as fractions, faster than was "
    "published.",
    source="Sergeant-Perthuis, Tsigaridas & Tsukahara 2026, Table 1",
    target="All twelve published λ equal, each in less than its published time.",
    criterion="Reproduced if every λ is equal and every time shorter; partly if some are.",
    duration="5 seconds",
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


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    network(2, 1)  # the first call pays for caches that belong to no network
    chosen = [row for row in PUBLISHED if row[1] <= 3] if quick else PUBLISHED
    return {"networks": [kept(f"r = {row[0]}, L = {row[1]}", measure, *row) for row in chosen]}


def judge(measured: dict[str, Any]) -> Verdict:
    rows = measured["networks"]
    timed = [row for row in rows if row["published_seconds"] is not None]
    equal = sum(row["learning_coefficient"] == row["published"] for row in rows)
    faster = sum(row["seconds"] < row["published_seconds"] for row in timed)
    return verdict_of(
        [
            (f"{equal} of {len(rows)} published λ equal (all)", equal == len(rows)),
            (f"{faster} of {len(timed)} faster than published (all)", faster == len(timed)),
        ]
    )


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = []
    for row in measured["networks"]:
        limit = row["published_seconds"]
        times = (f"{limit:g}", f"{limit / row['seconds']:.0f}×") if limit else ("", "")
        found = (row["learning_coefficient"], str(row["multiplicity"]), f"{row['seconds']:.4f}", row["published"])
        rows.append((str(row["power"]), str(row["layers"]), *found, *times))
    return [Table(("r", "L", "λ", "m", "seconds", "published λ", "published seconds", "faster"), rows)]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new()
    for power, mark in ((2, "o"), (3, "s"), (4, "^")):
        rows = [row for row in measured["networks"] if row["power"] == power]
        layers = [row["layers"] for row in rows]
        (line,) = axis.semilogy(layers, [row["seconds"] for row in rows], f"{mark}-", label=f"r = {power}, here")
        published = [(row["layers"], row["published_seconds"]) for row in rows if row["published_seconds"]]
        axis.semilogy(*zip(*published, strict=True), f"{mark}--", color=line.get_color(), alpha=0.5, label="published")
    axis.set(xlabel="layers L", ylabel="seconds for the exact (λ, m)", xticks=range(1, 6))
    axis.legend(fontsize=8)
    return figure
