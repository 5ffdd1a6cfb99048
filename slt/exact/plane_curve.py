"""Exact (λ, m) of any polynomial in two variables, by changes of variable read off its Newton polygon."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from itertools import chain
from typing import Any

import sympy
from flint import fmpq, fmpq_mpoly

from samplers.errors import InputError
from slt.exact.negativity import refuse_negative
from slt.exact.polygon import Edge, distance, edges, principal_edge, terms_of, vertices
from slt.exact.polynomial import PolynomialLike, point, show_point, to_flint_list, translate, variable_names
from slt.exact.rlct import RLCT
from slt.exact.univariate import has_real_root, powers_of_factors

MAX_WORK = 300_000_000  # bits of coefficients met in the changes of variable: some seconds


def plane_curve(
    poly: PolynomialLike | Sequence[PolynomialLike],
    x: str | sympy.Symbol,
    y: str | sympy.Symbol,
    at: Sequence[Any] | None = None,
) -> RLCT:
    """Local λ and m of K(x, y) at the rational point `at` (default: the origin), exact whatever K >= 0 is.

    `poly` is K >= 0 itself or a list f_1, ..., f_k meaning K = Σ f_i²; the squares are never formed. With δ the
    coordinate at which the diagonal meets the Newton polygon of K, λ = 1/δ in coordinates adapted to K: those in
    which no root y = b x^p (or x = b y^p) of the edge met has multiplicity > δ. In other coordinates exactly one
    root has, b is rational, and y -> y + b x^p is the next step. This ends, as p grows and the branches of K part:
    if the branches along that root have all parted but one, y = φ(x) of multiplicity n > δ, then λ = 1/n. m = 2 if
    in the adapted coordinates the diagonal meets a vertex, or if a real root of the edge has multiplicity exactly
    δ; else m = 1.

    Raises `InputError` if K(at) != 0, if a single K is negative near the point (where that test would be too
    expensive, `method` says that K >= 0 is assumed), on what is no polynomial with rational coefficients, and on
    polynomials too big to handle.

    Varchenko 1976; Phong, Stein & Sturm 1999; Ikromov & Müller 2011; Sergeant-Perthuis, Tsigaridas & Tsukahara 2026.

    >>> print(plane_curve("(y - x**2)**2 + x**6", "x", "y"))
    λ = 2/3, m = 1 (adapted coordinates after 1 change of variable)
    """
    names = variable_names([x, y])
    origin = point(at, names)
    if not all(isinstance(value, fmpq) for value in origin):
        raise InputError(f"the point {show_point(origin)} is not rational: plane_curve needs rational coordinates")
    squared = isinstance(poly, list | tuple)
    generators = [translate(f, origin) for f in to_flint_list(poly, names)]
    generators = [f for f in generators if not f.is_zero()]
    if not generators:
        return RLCT(Fraction(0), 1, True, "K is identically zero")
    if any(f[0, 0] != 0 for f in generators):
        raise InputError(f"K(at) != 0 at {show_point(origin)}: give a point where K vanishes")
    proved = squared or refuse_negative(generators[0], show_point(origin))
    height, multiplicity, method = _height(generators)
    method = method if proved else f"{method}; K >= 0 assumed"
    return RLCT(1 / (2 * height if squared else height), multiplicity, True, method)


def _height(generators: Sequence[fmpq_mpoly]) -> tuple[Fraction, int, str]:
    """Return δ in adapted coordinates, m and the method, for the ideal of the generators."""
    branches: Sequence[tuple[fmpq_mpoly, int]] | None = None
    changes = work = 0
    while True:
        terms = [terms_of(f) for f in generators]
        corners = vertices(chain.from_iterable(terms))
        delta, edge = distance(corners), principal_edge(corners)
        if edge is None:
            return delta, 1 + ((delta, delta) in corners), _adapted(changes)
        if min(edge.slope) > 1:
            return delta, 1, _adapted(changes)
        x, y = generators[0].context().gens()
        if edge.slope[0] > 1:
            # The roots are curves x = b y^q: exchange the variables.
            generators = [f.compose(y, x) for f in generators]
            branches = branches and [(g.compose(y, x), n) for g, n in branches]
            continue
        roots = list(powers_of_factors(edge.common_polynomial(terms)))
        steepest = next(((factor, n) for factor, n in roots if n > delta), None)
        if steepest is None:
            tie = any(n == delta and has_real_root(factor) for factor, n in roots)
            return delta, 1 + tie, _adapted(changes)
        factor, n = steepest
        root = fmpq(-factor[0], factor[1])
        if branches is None:
            branches = reduce(lambda f, g: f.gcd(g), generators).factor_squarefree()[1]
        if any(n == power and _is_simple_root(root, edge, g) for g, power in branches):
            return Fraction(n), 1, f"a smooth branch of multiplicity {n} in K or its generators"
        changes += 1
        work += sum(map(_cost, generators))
        if work > MAX_WORK:
            raise InputError(f"change of variable {changes} makes the polynomial too big: lower its degree")
        shifted = y + root * x ** edge.slope[1]
        generators = [f.compose(x, shifted) for f in generators]
        branches = [(g.compose(x, shifted), power) for g, power in branches]


def _is_simple_root(root: fmpq, edge: Edge, g: fmpq_mpoly) -> bool:
    """Tell whether exactly one branch of the square-free g, a smooth one, starts as y = root x^p."""
    terms = terms_of(g)
    for own in edges(vertices(terms)):
        if own.slope == edge.slope:
            poly = own.restrict(terms)
            return poly(root) == 0 and poly.derivative()(root) != 0
    return False


def _cost(f: fmpq_mpoly) -> int:
    """Return a bound on the bits of f(x, y + b x^p) for a b of few bits."""
    bits = max((int(c.p).bit_length() + int(c.q).bit_length() for c in f.coeffs()), default=0)
    return bits * sum(int(j) + 1 for _, j in f.monoms())


def _adapted(changes: int) -> str:
    if changes == 0:
        return "Newton polygon, coordinates already adapted"
    return f"adapted coordinates after {changes} change{'s' if changes > 1 else ''} of variable"
