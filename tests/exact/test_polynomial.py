"""Polynomials are read from text safely, exactly and within bounded work."""

import contextlib
from fractions import Fraction

import pytest
import sympy
from flint import fmpq, fmpz_mpoly_ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.errors import InputError
from slt.exact import parse_polynomial
from slt.exact.arithmetic import MAX_TERMS, Arithmetic
from slt.exact.polynomial import names_in, point, to_flint, translate, variable_names

x, y = sympy.symbols("x y")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x**2*y**4 + x**6", x**2 * y**4 + x**6),
        ("x^2*(y - 0.5)", x**2 * (y - sympy.Rational(1, 2))),
        ("-x**2 + --y", -(x**2) + y),
        ("x/2/3*y", x * y / 6),
        ("x**(2**3)", x**8),
        ("x**2**3", x**8),
        ("2 * -x", -2 * x),
        ("(x + y)\n*\t(x - y)", x**2 - y**2),
        (".25*x + 1.*y", x / 4 + y),
        ("(x+1)**0 - 1 + y", y),
        ("0**0*x + 0*y", x),
        ("x - x", sympy.Integer(0)),
    ],
)
def test_text_means_what_mathematics_says(text, expected):
    assert parse_polynomial(text, [x, y]).as_expr() == sympy.expand(expected)


def test_variables_are_the_names_in_natural_order_unless_given():
    assert parse_polynomial("w10 + w2*b + Ω1").gens == sympy.symbols("b w2 w10 Ω1")
    assert parse_polynomial("x", "y, x").gens == (y, x)
    assert names_in("1.5*x^2") == ("x",)
    assert variable_names("x y") == variable_names("x, y") == variable_names([x, "y"]) == ("x", "y")


BAD_TEXT = {
    "": "no variable",
    "3": "no variable",
    "x +": "expected a number",
    "2x": "unexpected 'x'",
    "x y": "unexpected 'y'",
    "(x": "not closed",
    "x)": "unexpected ')'",
    "x;y": "';' at position 2",
    "x.real": "'.' at position 2",
    "sin(x)": "function call",
    "x(2)": "function call",
    "__import__('os').system('true')": "is not part of a polynomial",
    "lambda: x": "is not part of a polynomial",
    "[x]": "is not part of a polynomial",
    "x**-1": "non-negative integer",
    "x**0.5": "non-negative integer",
    "x**y": "non-negative integer",
    "x/y": "division by a variable",
    "x/(y-y)": "division by zero",
    "x/0": "division by zero",
    "1e999*x": "unexpected 'e999'",
    "x**1e999": "unexpected 'e999'",
    "x**100000": "an exponent is too big",
    "(x+y)**100000": "an exponent is too big",
    "((x+y)**100)**100": "degree 10000",
    "x**2**3**4": "an exponent is too big",
    "10**10**10*x": "an exponent is too big",
    "(10**900)**900*x": "too many digits",
    "(v+w+x+y+z)**60": "up to 635376 terms",
    "*".join(["(1+x+y+z)**15"] * 9): "too big",
    "+".join(["(1+x+y)**190"] * 400): "too many operations",
    "9" * 2000 + "*x": "a number of 2000 digits",
    "(" * 5000 + "x" + ")" * 5000: "nested deeper",
    "x" + "**(1" * 5000: "nested deeper",
    "x" * 300_000: "300000 characters",
    "+".join(f"x{i}" for i in range(600)): "600 variables",
}


@pytest.mark.parametrize("text", BAD_TEXT, ids=lambda text: text[:20] or "empty")
def test_anything_else_is_refused_in_one_line(text):
    with pytest.raises(InputError) as refusal:
        parse_polynomial(text)
    message = str(refusal.value)
    assert BAD_TEXT[text] in message
    assert "\n" not in message
    assert len(message) < 250


def test_unknown_variables_are_named():
    with pytest.raises(InputError, match="unknown variable 'z': the variables are x, y"):
        parse_polynomial("x*z", "x y")


@pytest.mark.parametrize("text", [None, 3, b"x", ["x"]])
def test_only_text_is_parsed(text):
    with pytest.raises(InputError, match="expected the polynomial's text"):
        parse_polynomial(text)


def test_a_refused_power_is_never_computed(monkeypatch):
    computed = []
    monkeypatch.setattr(Arithmetic, "_small", lambda self, value: computed.append(len(value)) or value)
    with pytest.raises(InputError, match="terms"):
        parse_polynomial("(v+w+x+y+z)**60")
    assert max(computed) <= MAX_TERMS


TEXT_POLYNOMIALS = st.recursive(
    st.sampled_from(["x", "y", "3", "1/2", "-2", "0.25"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]}){t[1]}({t[2]})"),
        st.tuples(inner, st.integers(0, 3)).map(lambda t: f"({t[0]})**{t[1]}"),
        st.tuples(inner, st.integers(1, 9)).map(lambda t: f"-({t[0]})/{t[1]}"),
    ),
    max_leaves=8,
)


@given(TEXT_POLYNOMIALS)
@settings(deadline=None, max_examples=100, derandomize=True)
def test_parsing_agrees_with_sympy(text):
    assert parse_polynomial(text, [x, y]) == sympy.Poly(sympy.sympify(text, rational=True), x, y, domain="QQ")


@given(st.text(alphabet="xy0123456789+-*/^(). ", max_size=30))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_no_text_gets_past_as_anything_but_a_polynomial_or_a_refusal(text):
    with contextlib.suppress(InputError):
        assert parse_polynomial(text, "x y").domain == sympy.QQ


@pytest.mark.parametrize(
    "same",
    [
        "x**2/3 - x*y",
        x**2 / 3 - x * y,
        x * (x / 3 - y),
        sympy.Poly(x**2 / 3 - x * y, y, x),
        to_flint("a**2/3 - b*a", ["a", "b"]).compose(*to_flint("x", ["x", "y"]).context().gens()),
    ],
    ids=str,
)
def test_every_form_of_a_polynomial_is_the_same(same):
    names = ["x", "y"] if not hasattr(same, "monoms") or isinstance(same, sympy.Poly) else ["x0", "x1"]
    assert to_flint(same, names) == to_flint("x**2/3 - x*y", ["x", "y"])


def test_flint_polynomials_are_matched_by_name():
    b, a = fmpz_mpoly_ctx.get(["b", "a"]).gens()
    assert to_flint(a**2 * b, ["a", "b"]) == to_flint("a**2*b", ["a", "b"])
    with pytest.raises(InputError, match="unknown variable 'b'"):
        to_flint(a * b, ["a", "c"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (sympy.sin(x), "not a polynomial"),
        (sympy.sqrt(x), "not a polynomial"),
        (1 / x, "not a polynomial"),
        (x**y, "not a polynomial"),
        (sympy.Symbol("z") + x, "unknown variable 'z'"),
        (0.5 * x, "not a rational number"),
        (sympy.sqrt(2) * x, "not a rational number"),
        (sympy.Poly(sympy.pi * x, x), "not a rational number"),
        (sympy.Poly(0.5 * x, x), "not a rational number"),
        (sympy.Poly(x * y, x), "not a rational number"),
        (sympy.Poly(x, x, modulus=5), "modulo"),
        ((x + y) ** 100000, "exponent is beyond"),
        ((x + y) ** 100 * (x - y) ** 1000, "degree 1100"),
        (sympy.oo, "not a rational number"),
        (x < y, "expected a polynomial"),
        (None, "expected a polynomial"),
        (1.5, "expected a polynomial"),
    ],
    ids=str,
)
def test_what_is_no_polynomial_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        to_flint(value, ["x", "y"])


def test_a_deeply_nested_expression_is_refused():
    nested = x
    for _ in range(70):
        nested = sympy.Add(1, sympy.Mul(y, nested, evaluate=False), evaluate=False)
    with pytest.raises(InputError, match="nested deeper"):
        to_flint(nested, ["x", "y"])


def test_points_are_rational_or_real_algebraic():
    assert point(None, "xy") == [fmpq(0)] * 2
    assert point(("1/2", "-0.25"), "xy") == [fmpq(1, 2), fmpq(-1, 4)]
    assert point((Fraction(2, 3), sympy.Rational(1, 7)), "xy") == [fmpq(2, 3), fmpq(1, 7)]
    assert point([sympy.sqrt(2)], "x") == [sympy.sqrt(2)]


@pytest.mark.parametrize(
    "at",
    [0.5, "0,0", (0,), (0, 0, 0), (0.5, 0), (sympy.I, 0), (sympy.pi, 0), ("1/0", 0), ("nan", 0), ("1e9", 0)],
    ids=str,
)
def test_other_points_are_refused(at):
    with pytest.raises(InputError, match=r"point|coordinate"):
        point(at, ("x", "y"))


@pytest.mark.parametrize("variables", ["", [], "x x", "x 2", [1], x, 5], ids=str)
def test_bad_variables_are_refused(variables):
    with pytest.raises(InputError, match="variable"):
        variable_names(variables)


def test_translation_expands_around_the_point():
    f = to_flint("x**2*y", ["x", "y"])
    assert translate(f, [fmpq(1, 2), fmpq(0)]) == to_flint("(x + 1/2)**2*y", ["x", "y"])
    assert translate(f, [fmpq(0), fmpq(0)]) == f
    with pytest.raises(InputError, match="lower the degree"):
        translate(to_flint("v**90*w**90*x**90", ["v", "w", "x"]), [fmpq(1)] * 3)
