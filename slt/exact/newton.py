"""Local (λ, m) at a point from the Newton polyhedron, in any number of variables."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any

import sympy
from flint import fmpq, fmpq_mpoly

from samplers.errors import InputError
from slt.exact.elimination import eliminate
from slt.exact.linear_program import diagonal_face
from slt.exact.nondegeneracy import Terms, certify
from slt.exact.polyhedron import components, minimal
from slt.exact.polynomial import PolynomialLike, Variables, point, show_point, to_flint_list, translate, variable_names
from slt.exact.rlct import RLCT


def newton(
    polys: PolynomialLike | Sequence[PolynomialLike],
    variables: Variables,
    at: Sequence[Any] | None = None,
    jacobian: Sequence[int | Fraction] | None = None,
) -> RLCT:
    """Local λ and m of K at the point `at`, interior to the parameter space, from the Newton polyhedron.

    `polys` is K >= 0 itself, or a list f_1, ..., f_k meaning K = Σ f_i². Coordinates of the point are rational or
    real algebraic (default: the origin). `jacobian` are powers h_j > -1 of a prior density ∝ ∏ |w_j - at_j|^h_j
    (default: a positive density). With K comparable to Σ_a |w - at|^a,

        λ = min {v·(h + 1) : v >= 0, v·a >= 1 for all a},    m = 1 + dimension of the set of minimisers.

    For a polynomial this λ is an upper bound. `exact` is True only where K is proved comparable to the monomials of
    its Newton polyhedron: no common zero of the f_i's parts (of K's) in the real torus on any compact face. For a
    list, generators of the form u w_j + g with u != 0 at the point are first used up as coordinates, 1/2 each.

    Raises `InputError` if K(at) != 0, if a single K is seen to be negative near the point, and on what is no
    polynomial with rational coefficients.

    Varchenko 1976; Howald 2001 (monomial ideals); Lin 2017 (sums of squares); Watanabe 2009.

    >>> print(newton("x**2*y**4 + x**6", ["x", "y"]))
    λ = 1/3, m = 1 (Newton polyhedron, non-degenerate)
    """
    names = variable_names(variables)
    origin = point(at, names)
    powers = _powers(jacobian, names)
    squared = isinstance(polys, list | tuple)
    local = [f for f in (_local(f, names, origin) for f in to_flint_list(polys, names)) if f]
    if any(f.coeff(1) for f in local):
        raise InputError(f"K(at) != 0 at {show_point(origin)}: give a point where K vanishes")
    if not local:
        return RLCT(Fraction(0), 1, True, "K is identically zero")
    gone: set[int] = set()
    if squared:
        local, gone = eliminate(local, [j for j, h in enumerate(powers) if h == 0])
    rlct = _from_polyhedron([_terms(f) for f in local], powers, squared, show_point(origin))
    if not gone:
        return rlct
    method = f"{len(gone)} coordinate{'s' if len(gone) > 1 else ''} eliminated"
    if local:
        method = f"{method}, {rlct.method}"
    return RLCT(rlct.learning_coefficient + Fraction(len(gone), 2), rlct.multiplicity, rlct.exact, method)


def _from_polyhedron(generators: Sequence[Terms], powers: Sequence[Fraction], squared: bool, place: str) -> RLCT:
    """Add up the blocks of variables that no generator (for a single K: no monomial) mixes."""
    pieces = [list(f) for f in generators] if squared else [[a] for a in generators[0]]
    value, multiplicity, problems = Fraction(0), 1, []
    for block in components(pieces, len(powers)):
        inside = sorted(block)
        parts = [_restrict(terms, inside) for terms in generators]
        parts = [part for part in parts if part]
        exponents = minimal(a for part in parts for a in part)
        block_value, block_multiplicity = diagonal_face(exponents, [powers[j] + 1 for j in inside])
        value += block_value
        multiplicity += block_multiplicity - 1
        problems.append(certify(parts, squared, place))
    problem = next(filter(None, problems), "")
    method = f"Newton polyhedron, upper bound: {problem}" if problem else "Newton polyhedron, non-degenerate"
    return RLCT(value / 2 if squared else value, multiplicity, not problem, method)


def _restrict(terms: Terms, inside: Sequence[int]) -> Terms:
    """Return the part in these variables alone, which is all or nothing of a generator."""
    kept = set(inside)
    return {
        tuple(a[j] for j in inside): value
        for a, value in terms.items()
        if any(a) and all(j in kept for j, power in enumerate(a) if power)
    }


def _powers(jacobian: Sequence[int | Fraction] | None, names: Sequence[str]) -> list[Fraction]:
    if jacobian is None:
        return [Fraction(0)] * len(names)
    if len(jacobian) != len(names):
        raise InputError(f"{len(jacobian)} Jacobian exponents for {len(names)} variables: give one for each")
    for name, power in zip(names, jacobian, strict=True):
        if not isinstance(power, Rational) or power <= -1:
            raise InputError(f"the Jacobian exponent of {name} is {power}: it must be an integer or Fraction > -1")
    return [Fraction(power) for power in jacobian]


def _local(f: fmpq_mpoly, names: Sequence[str], origin: Sequence[Any]) -> Any:
    """Return f(origin + w) as a sympy ring element over the field of the point's coordinates."""
    rational = [value if isinstance(value, fmpq) else fmpq(0) for value in origin]
    algebraic = {j: value for j, value in enumerate(origin) if not isinstance(value, fmpq)}
    field = sympy.QQ.algebraic_field(*algebraic.values()) if algebraic else sympy.QQ
    polynomial_ring = sympy.ring(names, field)[0]
    terms = {
        tuple(map(int, a)): field.convert(sympy.QQ(int(c.p), int(c.q)), sympy.QQ)
        for a, c in translate(f, rational).terms()
    }
    local = polynomial_ring.from_dict(terms)
    for j, value in algebraic.items():
        w = polynomial_ring.gens[j]
        local = local.compose(w, w + field.from_sympy(value))
    return local


def _terms(f: Any) -> Terms:
    field = f.ring.domain
    if field.is_QQ:
        return {a: fmpq(int(c.numerator), int(c.denominator)) for a, c in f.terms()}
    numbers = {a: field.to_sympy(c) for a, c in f.terms()}
    return {a: fmpq(int(c.p), int(c.q)) if c.is_Rational else c for a, c in numbers.items()}
