"""Proofs that a Newton polyhedron gives the exact answer: no common zero in the real torus, on any compact face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice, product
from typing import Any, TypeAlias

from flint import Ordering, fmpq, fmpq_poly, fmpz_mpoly, fmpz_mpoly_ctx, fmpz_mpoly_vec

from samplers.errors import InputError
from slt.exact.linear_program import Exponent, in_polyhedron
from slt.exact.polyhedron import compact_faces, face_coordinates, minimal
from slt.exact.univariate import has_real_root, powers_of_factors

Terms: TypeAlias = Mapping[Exponent, Any]  # exponents -> fmpq, or a real algebraic sympy number

MAX_LP_WORK = 20_000  # linear programs times their columns: a few seconds
MAX_FACE_EXPONENTS = 3000
MAX_GROEBNER_FACES = 20
GROEBNER_LIMITS = (60, 200, 2000)  # polynomials, terms in each, bits in a coefficient
MAX_SAMPLES = 256


def certify(generators: Sequence[Terms], squared: bool, place: str) -> str:
    """Return "" if K is proved comparable to the sum of its Newton polyhedron's monomials, else why it is not.

    K = Σ f_i² if `squared`, else K is the one generator and K >= 0 is the caller's promise (`InputError` where it is
    seen to be broken). On a compact face γ the parts f_i,γ must have no common zero in (R - {0})^d (Lin 2017; for a
    single function Varchenko 1976). Proofs tried: parts of one sign by sight, for all faces at once; the real roots
    of the edge polynomials; a Gröbner basis over the complex torus, of a single K_γ with its derivatives, as they
    vanish together at a zero of K_γ >= 0. None is run beyond a fixed amount of work.
    """
    exponents = minimal(a for terms in generators for a in terms)
    kept = set(exponents)
    generators = [{a: c for a, c in terms.items() if a in kept} for terms in generators]
    if not squared:
        _refuse_negative_vertex(exponents, generators[0], place)
    covered = {a for terms in generators if _has_one_sign(terms) for a in terms}
    open_exponents = [a for a in exponents if a not in covered]
    cheap = len(open_exponents) * len(covered) <= MAX_LP_WORK
    if cheap and all(in_polyhedron(a, list(covered)) for a in open_exponents):
        return ""
    faces = compact_faces(exponents) if len(exponents) <= MAX_FACE_EXPONENTS else None
    if faces is None:
        return "too many faces to check"
    return _check_faces(faces, generators, squared, place)


def _check_faces(faces: Sequence[Sequence[Exponent]], generators: Sequence[Terms], squared: bool, place: str) -> str:
    problem, groebner_bases = "", 0
    for face in faces:
        parts = [part for terms in generators if (part := {a: terms[a] for a in face if a in terms})]
        if any(map(_has_one_sign, parts)):
            continue
        if not all(isinstance(c, fmpq) for part in parts for c in part.values()):
            return "not checked for coefficients that are not rational"
        renamed = dict(zip(face, face_coordinates(face), strict=True))
        parts = [{renamed[a]: c for a, c in part.items()} for part in parts]
        if len(renamed[face[0]]) == 1:
            problem = _check_edge(parts, squared, place) or problem
            continue
        if not squared:
            _refuse_negative_sample(parts[0], place)
        groebner_bases += 1
        if not problem and (groebner_bases > MAX_GROEBNER_FACES or not _no_complex_zero(parts, squared)):
            problem = "not decided on some face"
        if problem and squared:
            break
    return problem


def _check_edge(parts: Sequence[Terms], squared: bool, place: str) -> str:
    polys = []
    for part in parts:
        coefficients = [fmpq(0)] * (max(part)[0] + 1)
        for (i,), value in part.items():
            coefficients[i] = value
        polys.append(fmpq_poly(coefficients))
    roots = [n for factor, n in powers_of_factors(reduce(lambda a, b: a.gcd(b), polys)) if has_real_root(factor)]
    if not squared and any(n % 2 for n in roots):
        raise _negative(place)
    return "degenerate on an edge" if roots else ""


def _no_complex_zero(parts: Sequence[Terms], squared: bool) -> bool:
    """Tell whether a Gröbner basis shows that the parts have no common zero with all coordinates non-zero."""
    size = len(next(iter(parts[0])))
    context = fmpz_mpoly_ctx.get(("z", size + 1), Ordering.degrevlex)
    system = [_integral(part, context) for part in parts]
    if not squared:
        system += [z * system[0].derivative(i) for i, z in enumerate(context.gens()[:size])]
    monomial = reduce(lambda a, b: a * b, context.gens())
    vector = fmpz_mpoly_vec([monomial - 1, *(f for f in system if f != 0)], context)
    basis, _ = vector.buchberger_naive(limits=GROEBNER_LIMITS)
    return any(f.is_constant() and f != 0 for f in basis)


def _integral(part: Terms, context: fmpz_mpoly_ctx) -> fmpz_mpoly:
    denominator = reduce(lambda a, b: a * b // a.gcd(b), (c.q for c in part.values()))
    return context.from_dict({(*a, 0): (c * denominator).p for a, c in part.items()})


def _has_one_sign(terms: Terms) -> bool:
    """Tell whether the polynomial is a monomial times a sum of even monomials with coefficients of one sign."""
    return (
        len(terms) > 0
        and len({tuple(value % 2 for value in a) for a in terms}) == 1
        and len({_is_positive(c) for c in terms.values()}) == 1
    )


def _is_positive(value: Any) -> bool:
    return bool(value > 0) if isinstance(value, fmpq) else bool(value.evalf(30) > 0)


def _refuse_negative_vertex(exponents: Sequence[Exponent], terms: Terms, place: str) -> None:
    suspects = [a for a in exponents if any(v % 2 for v in a) or not _is_positive(terms[a])]
    # The lexicographically first exponent is always a vertex; the others are checked while the work is bounded.
    if min(exponents) in suspects:
        raise _negative(place)
    for suspect in suspects[: MAX_LP_WORK // len(exponents)]:
        if not in_polyhedron(suspect, [a for a in exponents if a != suspect]):
            raise _negative(place)


def _refuse_negative_sample(terms: Terms, place: str) -> None:
    """Evaluate a face's part, whose sign is that of K near the origin along a curve, at points of the torus."""
    size = len(next(iter(terms)))
    for values in islice(_torus_points(size), MAX_SAMPLES):
        if sum((c * _monomial(values, a) for a, c in terms.items()), fmpq(0)) < 0:
            raise _negative(place)


def _torus_points(size: int) -> Iterator[tuple[fmpq, ...]]:
    for magnitude in (fmpq(1), fmpq(2), fmpq(1, 2)):
        yield from product((magnitude, -magnitude), repeat=size)
    yield from product((fmpq(1), fmpq(-1), fmpq(3), fmpq(-1, 3)), repeat=size)


def _monomial(values: Sequence[fmpq], exponent: Exponent) -> fmpq:
    return reduce(lambda a, b: a * b, (value**power for value, power in zip(values, exponent, strict=True)))


def _negative(place: str) -> InputError:
    return InputError(f"K is negative near {place}: it must be >= 0; for K = f² give the list [f]")
