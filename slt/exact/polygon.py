"""Newton polygons in the plane: the face the diagonal meets and the polynomials on its edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from math import gcd
from typing import TypeAlias

from flint import fmpq, fmpq_mpoly, fmpq_poly

Exponent: TypeAlias = tuple[int, int]
Terms: TypeAlias = Mapping[Exponent, fmpq]  # a polynomial in x, y: exponents -> coefficient


@dataclass(frozen=True)
class Edge:
    """A compact edge from `upper` = (i, j) to `lower` = (i + length p, j - length q), p and q coprime."""

    upper: Exponent
    lower: Exponent

    @property
    def length(self) -> int:
        """Number of lattice steps, the degree of the edge polynomial."""
        return gcd(self.lower[0] - self.upper[0], self.upper[1] - self.lower[1])

    @property
    def slope(self) -> tuple[int, int]:
        """The weights (q, p): x has weight q, y has weight p, and roots of the edge are curves y^q = z x^p."""
        return (self.upper[1] - self.lower[1]) // self.length, (self.lower[0] - self.upper[0]) // self.length

    @property
    def distance(self) -> Fraction:
        """The δ at which the edge's line meets the diagonal."""
        q, p = self.slope
        return Fraction(q * self.upper[0] + p * self.upper[1], p + q)

    def restrict(self, terms: Terms) -> fmpq_poly:
        """Return the edge polynomial in z = y^q / x^p of the part of `terms` on the edge."""
        (q, p), (i, j) = self.slope, self.upper
        steps = range(self.length, -1, -1)
        return fmpq_poly([terms.get((i + p * k, j - q * k), fmpq(0)) for k in steps])

    def common_polynomial(self, generators: Sequence[Terms]) -> fmpq_poly:
        """Return the greatest common divisor of the generators' edge polynomials.

        Its real roots are those of Σ f_i² on the edge with half their multiplicities; z = 0 is none of them, as some
        generator contains the vertex `lower`.
        """
        return reduce(lambda a, b: a.gcd(b), (self.restrict(terms) for terms in generators))


def terms_of(f: fmpq_mpoly) -> Terms:
    """Return the terms of a polynomial in two variables."""
    return {(int(i), int(j)): value for (i, j), value in zip(f.monoms(), f.coeffs(), strict=True)}


def vertices(exponents: Iterable[Exponent]) -> list[Exponent]:
    """Return the vertices of the Newton polygon, the convex hull of the exponents + R²_+, from left to right."""
    lowest: dict[int, int] = {}
    for i, j in exponents:
        lowest[i] = min(j, lowest.get(i, j))
    hull: list[Exponent] = []
    for i in sorted(lowest):
        j = lowest[i]
        if hull and j >= hull[-1][1]:
            continue
        while len(hull) > 1 and not _turns_left(hull[-2], hull[-1], (i, j)):
            hull.pop()
        hull.append((i, j))
    return hull


def edges(corners: Sequence[Exponent]) -> list[Edge]:
    """Return the compact edges between consecutive vertices."""
    return [Edge(upper, lower) for upper, lower in pairwise(corners)]


def principal_edge(corners: Sequence[Exponent]) -> Edge | None:
    """Return the compact edge whose inner part the diagonal meets, None where it meets a vertex or an axis ray."""
    for edge in edges(corners):
        if edge.upper[0] < edge.upper[1] and edge.lower[0] > edge.lower[1]:
            return edge
    return None


def distance(corners: Sequence[Exponent]) -> Fraction:
    """Return δ, the coordinate at which the diagonal meets the boundary of the polygon."""
    edge = principal_edge(corners)
    if edge is not None:
        return edge.distance
    # A vertex on the diagonal, or a ray of constant i (then i >= j at the first vertex) or of constant j.
    return Fraction(min(max(corner) for corner in corners))


def _turns_left(a: Exponent, b: Exponent, c: Exponent) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0
