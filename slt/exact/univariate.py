"""Real roots of polynomials in one variable, by exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from flint import fmpq, fmpq_poly, fmpz_poly


def powers_of_factors(poly: fmpq_poly) -> Iterator[tuple[fmpz_poly, int]]:
    """Yield (factor, multiplicity): square-free, pairwise coprime factors of positive degree."""
    for factor, multiplicity in poly.numer().factor_squarefree()[1]:
        yield factor, int(multiplicity)


def has_real_root(poly: fmpz_poly) -> bool:
    """Tell whether a square-free polynomial of positive degree has a real root."""
    if poly.degree() % 2 or poly(0) == 0 or poly(1) == 0 or poly(-1) == 0:
        return True
    mirrored = poly(fmpz_poly([0, -1]))
    return any(_has_root_in_unit_interval(p) for q in (poly, mirrored) for p in (q, _reversed(q)))


def has_root_within(poly: fmpz_poly, bound: fmpq) -> bool:
    """Tell whether a square-free polynomial has a root in (-bound, bound), neither end a root."""
    numerator = fmpq_poly(poly)(fmpq_poly([-bound, 2 * bound])).numer()
    return _has_root_in_unit_interval(numerator)


def root_bound(poly: fmpz_poly) -> fmpq:
    """Return r > 0 such that every root other than 0 has modulus > r (half Cauchy's bound on 1/root)."""
    coefficients = [abs(c) for c in poly.coeffs() if c != 0]
    return fmpq(coefficients[0], 2 * (coefficients[0] + max(coefficients)))


def _has_root_in_unit_interval(poly: fmpz_poly) -> bool:
    """Look for a root in (0, 1) by bisection and Descartes' rule of signs (Vincent; Collins & Akritas 1976).

    The sign variations of (1 + x)^n p(1/(1 + x)) count the roots in (0, 1) up to an even number; for a square-free
    p they drop to 0 or 1 on intervals short enough.
    """
    pending = [poly]
    while pending:
        p = pending.pop()
        variations = _variations(_reversed(p)(fmpz_poly([1, 1])))
        if variations % 2 == 1:
            return True
        if variations:
            left = fmpz_poly([c << (p.degree() - i) for i, c in enumerate(p.coeffs())])
            right = left(fmpz_poly([1, 1]))
            if right[0] == 0:
                return True
            pending += [right, left]
    return False


def _reversed(poly: fmpz_poly) -> fmpz_poly:
    return fmpz_poly(poly.coeffs()[::-1])


def _variations(poly: fmpz_poly) -> int:
    nonzero = [value > 0 for value in poly.coeffs() if value != 0]
    return sum(a != b for a, b in pairwise(nonzero))
