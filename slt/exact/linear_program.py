"""The linear programs of Newton polyhedra, in exact rational arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import count
from math import lcm
from typing import TypeAlias

from flint import fmpq

GREEDY_PIVOTS = 1000

Exponent: TypeAlias = tuple[int, ...]


class PackingProgram:
    """max Σ_a costs_a ν_a subject to Σ_a ν_a a <= capacity in every coordinate, ν >= 0.

    The columns a are exponent vectors other than 0, the capacities are positive, so the program is feasible and
    bounded. Revised simplex method from the slack basis: the largest gain enters, later on the first (Bland's rule,
    which cannot cycle). Columns are numbered from 0, the slack of coordinate j is number -1 - j.
    """

    def __init__(self, columns: Sequence[Exponent], capacity: Sequence[Fraction]):
        self._columns = columns
        size = len(capacity)
        self._basis = [-1 - j for j in range(size)]
        self._inverse = [[fmpq(int(i == j)) for j in range(size)] for i in range(size)]
        self._levels = [fmpq(c.numerator, c.denominator) for c in capacity]

    def maximize(self, wanted: set[int], allowed: Sequence[int]) -> fmpq:
        """Move to a vertex that maximizes Σ ν_a over `wanted`, entering only `allowed` numbers; return the value."""
        for pivots in count():
            prices, scale = self._prices(wanted)
            gains = ((self._gain(number, prices, scale, wanted), number) for number in allowed)
            if pivots < GREEDY_PIVOTS:
                gain, number = max(gains)
            else:
                gain, number = next(((g, n) for g, n in gains if g > 0), (0, 0))
            if gain <= 0:
                break
            self._enter(number)
        levels = zip(self._basis, self._levels, strict=True)
        return sum((level for number, level in levels if number in wanted), fmpq(0))

    def tight(self, wanted: set[int], allowed: Sequence[int]) -> list[int]:
        """Return the allowed numbers of reduced cost zero: those positive in some optimum are among them."""
        prices, scale = self._prices(wanted)
        return [number for number in allowed if self._gain(number, prices, scale, wanted) == 0]

    def support(self) -> list[int]:
        """Return the numbers positive at the current vertex."""
        return [number for number, level in zip(self._basis, self._levels, strict=True) if level > 0]

    def column(self, number: int) -> Exponent:
        """Return the vector of a column or of a slack."""
        if number >= 0:
            return self._columns[number]
        return tuple(int(j == -1 - number) for j in range(len(self._basis)))

    def _prices(self, wanted: set[int]) -> tuple[list[int], int]:
        """Return integers y and s with y/s = (costs of the basis)ᵀ B⁻¹."""
        rows = [row for number, row in zip(self._basis, self._inverse, strict=True) if number in wanted]
        prices = [sum(column, fmpq(0)) for column in zip(*rows, strict=True)] or [fmpq(0)] * len(self._basis)
        scale = lcm(*(int(price.q) for price in prices))
        return [int((price * scale).p) for price in prices], scale

    def _gain(self, number: int, prices: list[int], scale: int, wanted: set[int]) -> int:
        if number < 0:
            return -prices[-1 - number]
        return scale * (number in wanted) - sum(y * a for y, a in zip(prices, self._columns[number], strict=True))

    def _enter(self, number: int) -> None:
        column = self.column(number)
        direction = [sum((b * a for b, a in zip(row, column, strict=True) if a), fmpq(0)) for row in self._inverse]
        _, _, leaving = min(
            (level / step, basic, i)
            for i, (level, step, basic) in enumerate(zip(self._levels, direction, self._basis, strict=True))
            if step > 0
        )
        pivot = direction[leaving]
        self._inverse[leaving] = [b / pivot for b in self._inverse[leaving]]
        self._levels[leaving] /= pivot
        for i, step in enumerate(direction):
            if i != leaving and step != 0:
                self._levels[i] -= step * self._levels[leaving]
                self._inverse[i] = [b - step * c for b, c in zip(self._inverse[i], self._inverse[leaving], strict=True)]
        self._basis[leaving] = number


class Span:
    """The linear span of the vectors added, as a reduced echelon basis."""

    def __init__(self) -> None:
        self._rows: dict[int, list[fmpq]] = {}

    @property
    def rank(self) -> int:
        """Its dimension."""
        return len(self._rows)

    def __contains__(self, vector: Iterable[int]) -> bool:
        return not any(self._reduce(vector))

    def add(self, vector: Iterable[int]) -> None:
        """Extend the span by a vector."""
        row = self._reduce(vector)
        lead = next((j for j, value in enumerate(row) if value), None)
        if lead is not None:
            self._rows[lead] = [value / row[lead] for value in row]

    def _reduce(self, vector: Iterable[int]) -> list[fmpq]:
        row = [fmpq(value) for value in vector]
        for lead in sorted(self._rows):
            if (factor := row[lead]) != 0:
                row = [value - factor * other for value, other in zip(row, self._rows[lead], strict=True)]
        return row


def diagonal_face(exponents: Sequence[Exponent], weights: Sequence[Fraction]) -> tuple[Fraction, int]:
    """Return λ = min {v·weights : v >= 0, v·a >= 1 for all a} and m = 1 + dimension of the set of minimisers.

    weights = 1 + (powers of the prior density). The point weights/λ is where the ray through the weights meets the
    Newton polyhedron conv(exponents) + R^d_+, and m the codimension of the face it meets. By strict complementarity
    an inequality holds with equality at every minimiser if and only if its multiplier is positive in some optimum
    of the dual program, which is the packing program solved here.
    """
    program = PackingProgram(exponents, weights)
    numbers = [*range(len(exponents)), *range(-len(weights), 0)]
    every = set(range(len(exponents)))
    value = program.maximize(every, numbers)
    tight = program.tight(every, numbers)
    span = Span()
    while True:
        for number in program.support():
            span.add(program.column(number))
        rest = {number for number in tight if program.column(number) not in span}
        if not rest or program.maximize(rest, tight) == 0:
            return Fraction(int(value.p), int(value.q)), 1 + len(weights) - span.rank


def in_polyhedron(point: Exponent, exponents: Sequence[Exponent]) -> bool:
    """Tell whether a point lies in conv(exponents) + R^d_+ (exponents other than 0)."""
    inside = [j for j, value in enumerate(point) if value]
    # A coordinate of the point that is zero must be zero in every exponent used, and then constrains nothing more.
    usable = [tuple(a[j] for j in inside) for a in exponents if all(not e or j in inside for j, e in enumerate(a))]
    if not usable:
        return False
    program = PackingProgram(usable, [Fraction(point[j]) for j in inside])
    return program.maximize(set(range(len(usable))), [*range(len(usable)), *range(-len(inside), 0)]) >= 1
