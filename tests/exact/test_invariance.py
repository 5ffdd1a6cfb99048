"""What must not change (λ, m), and how they move: coordinates, scale, units, added squares, disjoint sums."""

from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slt.exact import newton, plane_curve

EXAMPLES = settings(deadline=None, max_examples=80, derandomize=True)
NONZERO = st.sampled_from(["1", "-1", "2", "-3", "1/2", "-2/3"])


def polynomials(names):
    """Text of a polynomial with a few terms of low degree, zero at the origin."""
    power = st.integers(0, 4)
    term = st.tuples(NONZERO, st.tuples(*[power] * len(names))).filter(lambda t: any(t[1]))
    return st.lists(term, min_size=1, max_size=4).map(
        lambda terms: " + ".join(
            "*".join([f"({c})", *(f"{v}**{e}" for v, e in zip(names, powers, strict=True))]) for c, powers in terms
        )
    )


def ideals(names, size=3):
    return st.lists(polynomials(names), min_size=1, max_size=size)


def replace(polys, images):
    """Substitute texts for variables, all at once."""
    marked = {name: f"({image})" for name, image in images.items()}
    return ["".join(marked.get(character, character) for character in f) for f in polys]


def answer(rlct):
    return rlct.learning_coefficient, rlct.multiplicity, rlct.exact


def rank(rlct):
    """Orders (λ, m) by the decay of the volume: a larger λ, then a smaller m, decays faster."""
    return rlct.learning_coefficient, -rlct.multiplicity


@given(ideals("xyz"), st.permutations("xyz"))
@EXAMPLES
def test_newton_under_permutation(polys, order):
    assert answer(newton(polys, list("xyz"))) == answer(newton(polys, order))
    renamed = replace(polys, dict(zip("xyz", order, strict=True)))
    assert answer(newton(polys, "x y z")) == answer(newton(renamed, "x y z"))


@given(ideals("xyz"), st.tuples(NONZERO, NONZERO, NONZERO))
@EXAMPLES
def test_newton_under_scaling(polys, factors):
    scaled = replace(polys, {v: f"{v}*({c})" for v, c in zip("xyz", factors, strict=True)})
    assert answer(newton(polys, "x y z")) == answer(newton(scaled, "x y z"))


@given(ideals("xy"), st.tuples(NONZERO, NONZERO, NONZERO))
@EXAMPLES
def test_plane_curve_under_permutation_and_scaling(polys, factors):
    expected = answer(plane_curve(polys, "x", "y"))
    assert answer(plane_curve(polys, "y", "x")) == expected
    scaled = replace([f"({factors[0]})*({f})" for f in polys], {"x": f"({factors[1]})*x", "y": f"({factors[2]})*y"})
    assert answer(plane_curve(scaled, "x", "y")) == expected


ENTRY = st.integers(-3, 3)


@given(ideals("xy"), st.tuples(ENTRY, ENTRY, ENTRY, ENTRY), st.sampled_from([1, 2, 3]))
@EXAMPLES
def test_plane_curve_under_linear_changes(polys, matrix, divisor):
    a, b, c, d = matrix
    assume(a * d != b * c)
    changed = replace(polys, {"x": f"({a}*x+({b})*y)/{divisor}", "y": f"{c}*x+({d})*y"})
    assert answer(plane_curve(changed, "x", "y")) == answer(plane_curve(polys, "x", "y"))


@given(ideals("xy"), polynomials("xy"), NONZERO)
@EXAMPLES
def test_plane_curve_under_a_change_of_variable_with_units(polys, unit, c):
    # y -> y + c x² + x y is a local diffeomorphism, and every generator may be multiplied by a unit.
    bent = replace(polys, {"y": f"y + ({c})*x**2 + x*y"})
    rescaled = [f"({f})*(2 + {unit})" for f in bent]
    assert answer(plane_curve(rescaled, "x", "y")) == answer(plane_curve(polys, "x", "y"))


@given(ideals("xy"), NONZERO, NONZERO)
@EXAMPLES
def test_plane_curve_and_newton_at_another_point(polys, a, b):
    moved = replace(polys, {"x": f"x - ({a})", "y": f"y - ({b})"})
    at = (Fraction(a), Fraction(b))
    assert answer(plane_curve(moved, "x", "y", at=at)) == answer(plane_curve(polys, "x", "y"))
    assert answer(newton(moved, "x y", at=at)) == answer(newton(polys, "x y"))


@given(ideals("xy"))
@EXAMPLES
def test_a_list_means_the_sum_of_its_squares(polys):
    expanded = " + ".join(f"({f})**2" for f in polys)
    assert answer(plane_curve(expanded, "x", "y")) == answer(plane_curve(polys, "x", "y"))
    single, ideal = newton(expanded, "x y"), newton(polys, "x y")
    # Used-up coordinates can only sharpen the list's answer, and may prove it.
    assert rank(ideal) <= rank(single)
    if single.exact:
        assert answer(ideal) == answer(single)


@given(ideals("xy"))
@EXAMPLES
def test_newton_is_an_upper_bound_and_exact_where_it_says_so(polys):
    truth = plane_curve(polys, "x", "y")
    bound = newton(polys, "x y")
    assert bound.learning_coefficient >= truth.learning_coefficient
    if bound.exact:
        assert answer(bound) == answer(truth)


@given(ideals("xy", size=2), polynomials("xy"))
@EXAMPLES
def test_adding_a_square_is_monotone_in_the_plane(polys, more):
    assert rank(plane_curve(polys, "x", "y")) <= rank(plane_curve([*polys, more], "x", "y"))


@given(ideals("xyz", size=2), polynomials("xyz"))
@EXAMPLES
def test_adding_a_square_is_monotone_where_newton_is_exact(polys, more):
    before, after = newton(polys, "x y z"), newton([*polys, more], "x y z")
    if before.exact and after.exact:
        assert rank(before) <= rank(after)


@given(ideals("xy"), ideals("uv"))
@EXAMPLES
def test_newton_adds_over_disjoint_sums(first, second):
    a, b, both = newton(first, "x y"), newton(second, "u v"), newton([*first, *second], "u v x y")
    assert both.learning_coefficient == a.learning_coefficient + b.learning_coefficient
    assert both.multiplicity - 1 == (a.multiplicity - 1) + (b.multiplicity - 1)
    assert both.exact == (a.exact and b.exact)
    squares = [" + ".join(f"({f})**2" for f in polys) for polys in (first, second)]
    single = newton(" + ".join(squares), "x y u v")
    parts = [newton(squares[0], "x y"), newton(squares[1], "u v")]
    assert single.learning_coefficient == sum(part.learning_coefficient for part in parts)
    assert single.multiplicity - 1 == sum(part.multiplicity - 1 for part in parts)
    assert single.exact == all(part.exact for part in parts)


@given(polynomials("x"), polynomials("y"))
@EXAMPLES
def test_plane_curve_adds_over_disjoint_sums(f, g):
    a, b, both = newton([f], "x"), newton([g], "y"), plane_curve([f, g], "x", "y")
    assert a.exact
    assert b.exact
    expected = a.learning_coefficient + b.learning_coefficient
    assert (both.learning_coefficient, both.multiplicity) == (expected, 1)
