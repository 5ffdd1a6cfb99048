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
    if poly.degree() % 2:
        return True
    chain = _sturm_chain(poly)
    at_minus_infinity = [p.leading_coefficient() * (-1) ** (p.degree() % 2) for p in chain]
    return _variations(at_minus_infinity) > _variations([p.leading_coefficient() for p in chain])


def count_real_roots(poly: fmpz_poly, bound: fmpq) -> int:
    """Count the real roots of a square-free polynomial in (-bound, bound), neither end a root (Sturm)."""
    chain = [fmpq_poly(p) for p in _sturm_chain(poly)]
    return _variations([p(-bound) for p in chain]) - _variations([p(bound) for p in chain])


def root_bound(poly: fmpz_poly) -> fmpq:
    """Return r > 0 such that every root other than 0 has modulus > r (half Cauchy's bound on 1/root)."""
    coefficients = [abs(c) for c in poly.coeffs() if c != 0]
    return fmpq(coefficients[0], 2 * (coefficients[0] + max(coefficients)))


def _sturm_chain(poly: fmpz_poly) -> list[fmpz_poly]:
    chain = [poly, poly.derivative()]
    while chain[-1].degree() > 0:
        # The remainder over Q keeps its sign when scaled by a positive number.
        remainder = fmpq_poly(chain[-2]) % fmpq_poly(chain[-1])
        numerator = -remainder.numer()
        chain.append(fmpz_poly([c // numerator.content() for c in numerator.coeffs()]))
    return chain


def _variations(signs: list[fmpq]) -> int:
    nonzero = [value > 0 for value in signs if value != 0]
    return sum(a != b for a, b in pairwise(nonzero))
