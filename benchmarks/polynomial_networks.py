"""Exact (λ, m) of two-parameter polynomial networks, against the published values and times.

f(x) = W σ(W σ(... W x)) with L factors W = [[a+b, a²], [a², b²]], σ(z) = z^r elementwise, x in R², K = E|f(x)|², at
a = b = 0. The published figures are Table 1 of Sergeant-Perthuis, Tsigaridas & Tsukahara, "Exact Algebraic
Computation of Learning Coefficients for Two-Dimensional Singular Models" (2026), on 2 virtual CPUs.

K is a positive definite quadratic form in the coefficients of f as a polynomial in x, hence comparable to the sum of
their squares, and has the same (λ, m): the coefficients go to `plane_curve` as a list. A time is that of expanding f
and of finding (λ, m), in a process that has imported everything.

    python -m benchmarks.polynomial_networks [--output benchmarks/results/polynomial_networks.json]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from time import perf_counter

from flint import Ordering, fmpz_mpoly, fmpz_mpoly_ctx

from slt.exact import RLCT, plane_curve

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

    @property
    def agrees(self) -> bool:
        """Whether λ is the published one, found faster."""
        limit = self.published_seconds
        return self.learning_coefficient == self.published and (limit is None or self.seconds < limit)


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


def measure() -> list[Row]:
    """Run all twelve networks."""
    network(2, 1)  # the first call pays for caches that belong to no network
    rows = []
    for power, layers, published, published_seconds in PUBLISHED:
        start = perf_counter()
        rlct = network(power, layers)
        seconds = perf_counter() - start
        coefficient = str(Fraction(rlct.learning_coefficient))
        rows.append(Row(power, layers, coefficient, rlct.multiplicity, seconds, published, published_seconds))
    return rows


def show(rows: list[Row]) -> None:
    """Print the table."""
    print(f"{'r':>2} {'L':>2} {'λ':>7} {'m':>2} {'seconds':>9} {'published λ':>12} {'published s':>12} {'faster':>8}")
    for row in rows:
        limit = row.published_seconds
        times = f"{limit:12.2f} {limit / row.seconds:7.0f}x" if limit else f"{'-':>12} {'-':>8}"
        print(
            f"{row.power:>2} {row.layers:>2} {row.learning_coefficient:>7} {row.multiplicity:>2} {row.seconds:9.4f} "
            f"{row.published:>12} {times}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Exact (λ, m) of polynomial networks, with times")
    parser.add_argument("--output", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    rows = measure()
    show(rows)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        table = {"command": "python -m benchmarks.polynomial_networks", "networks": [asdict(row) for row in rows]}
        arguments.output.write_text(json.dumps(table, indent=2) + "\n")
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
