"""Refusing a function of two variables that is negative somewhere near the origin."""

from __future__ import annotations

from flint import fmpq, fmpq_mpoly, fmpz_poly

from samplers.errors import InputError
from slt.exact.polygon import edges, terms_of, vertices
from slt.exact.univariate import has_real_root, has_root_within, powers_of_factors, root_bound

MAX_WORK = 4500  # degree times smaller degree squared, for the discriminant: half a second


def refuse_negative(f: fmpq_mpoly, place: str) -> bool:
    """Raise `InputError` if f(x, y), f(0, 0) = 0, takes negative values in every neighbourhood of the origin.

    Returns True where f >= 0 is proved, False where that is left open.

    A vertex of the Newton polygon with an odd exponent or a negative coefficient shows it, and so does an edge
    polynomial with a real root of odd multiplicity. Without real roots f > 0 off the axes. If they are all of even
    multiplicity, f is negative somewhere if and only if one of its square-free factors of odd multiplicity vanishes
    on a real curve through the origin. That last test is left out where its discriminant would be too expensive.
    """
    terms = terms_of(f)
    corners = vertices(terms)
    if any(i % 2 or j % 2 or terms[i, j] < 0 for i, j in corners):
        raise _negative(place)
    undecided = False
    for edge in edges(corners):
        for factor, multiplicity in powers_of_factors(edge.restrict(terms)):
            if has_real_root(factor):
                if multiplicity % 2:
                    raise _negative(place)
                undecided = True
    if not undecided:
        return True
    odd = [g for g, n in f.factor_squarefree()[1] if n % 2]
    cheap = [g for g in odd if max(g.degrees()) * min(g.degrees()) ** 2 <= MAX_WORK]
    if any(map(has_real_branch, cheap)):
        raise _negative(place)
    return len(cheap) == len(odd)


def has_real_branch(g: fmpq_mpoly) -> bool:
    """Tell whether the square-free g(x, y) vanishes on a real curve through the origin.

    Where x does not divide g, take c > 0 below every non-zero root of g(0, y), then e > 0 below every non-zero root
    of g(x, c), g(x, -c) and the discriminant of g in y. For 0 < |x| <= e no root y of g(x, y) leaves or enters
    (-c, c) or meets another, so the branches through the origin are the roots in there at x = e and at x = -e.
    """
    exponents = g.monoms()
    if (0, 0) in exponents:
        return False
    if not any(i == 0 for i, _ in exponents) or not any(j == 0 for _, j in exponents):
        return True
    x, y = g.context().gens()
    if g.degrees()[0] < g.degrees()[1]:
        g = g.compose(y, x)
    c = root_bound(_univariate(g.compose(y * 0, x)))
    boundary = [g.compose(x, y * 0 + c), g.compose(x, y * 0 - c), g.discriminant(1)]
    e = min(root_bound(_univariate(h)) for h in boundary)
    slices = (_univariate(g.compose(y * 0 + sign * e, x)) for sign in (1, -1))
    return any(has_root_within(h, c) for h in slices)


def _univariate(h: fmpq_mpoly) -> fmpz_poly:
    coefficients = [fmpq(0)] * (h.degrees()[0] + 1)
    for (i, _), value in h.terms():
        coefficients[i] = value
    denominator = 1
    for value in coefficients:
        denominator *= int((value * denominator).q)
    return fmpz_poly([int((value * denominator).p) for value in coefficients])


def _negative(place: str) -> InputError:
    return InputError(f"K is negative near {place}: it must be >= 0; for K = f² give the list [f]")
