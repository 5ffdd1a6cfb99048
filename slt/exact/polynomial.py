"""Polynomials in and out: safe parsing of text, conversion between sympy and python-flint, points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import prod
from numbers import Rational
from operator import index
from typing import Any, TypeAlias, cast

import sympy
from flint import fmpq, fmpq_mpoly, fmpz_mpoly

from samplers.errors import InputError
from slt.exact.arithmetic import MAX_DEGREE, Arithmetic, refuse
from slt.exact.parsing import MAX_NESTING, Parser, quote, tokenize

MAX_TRANSLATED_TERMS = 500_000
_RATIONAL = re.compile(r"[-+]?\d{1,1000}(/0*[1-9]\d{0,999}|\.\d{1,1000})?")

PolynomialLike: TypeAlias = str | int | Fraction | sympy.Expr | sympy.Poly | fmpq_mpoly | fmpz_mpoly
Variables: TypeAlias = str | Sequence[str | sympy.Symbol]


def parse_polynomial(text: str, variables: Variables | None = None) -> sympy.Poly:
    """Read a polynomial with rational coefficients from text, without evaluating anything.

    Accepts + - * / (by numbers) ** or ^ (non-negative integer exponents), parentheses, integers, decimals (taken
    exactly: 0.25 is 1/4) and variable names. `variables` fixes the variables and their order; left out, they are the
    names in the text in alphabetical order, numbers inside names counting as numbers (w2 before w10).

    Raises `InputError` on anything else, on unknown variables, and on polynomials beyond the limits of
    `slt.exact.arithmetic` (degree 1000, 20,000 terms), before the work is done.

    >>> parse_polynomial("x^2*(y - 0.5)")
    Poly(x**2*y - 1/2*x**2, x, y, domain='QQ')
    """
    if not isinstance(text, str):
        raise InputError(f"expected the polynomial's text, got {type(text).__name__}")
    names = names_in(text) if variables is None else variable_names(variables)
    if not names:
        raise InputError(f"{quote(text)} contains no variable: name the variables")
    value = Parser(text, Arithmetic(names)).parse()
    terms = {powers: sympy.Rational(int(c.p), int(c.q)) for powers, c in value.terms()}
    return sympy.Poly.from_dict(terms, *map(sympy.Symbol, names), domain=sympy.QQ)


def names_in(text: str) -> tuple[str, ...]:
    """Return the variable names in the text in alphabetical order, w2 before w10."""
    names = {token.text for token in tokenize(text) if token.kind == "name"}
    return tuple(sorted(names, key=_natural_order))


def variable_names(variables: Variables) -> tuple[str, ...]:
    """Return the names of the variables, given as symbols, names, or one string "x y" or "x, y"."""
    if isinstance(variables, str):
        variables = [name for name in re.split(r"[\s,]+", variables) if name]
    if isinstance(variables, sympy.Symbol) or not isinstance(variables, Iterable):
        raise InputError(f"variables must be a list of symbols or names, got {variables!r}")
    names = tuple(v.name if isinstance(v, sympy.Symbol) else v for v in variables)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{name!r} is not a variable: give sympy symbols or names such as 'x'")
    if len(set(names)) < len(names):
        raise InputError(f"the variables {', '.join(names)} are not distinct")
    if not names:
        raise InputError("no variables were given: name at least one")
    return names


def to_flint(polynomial: PolynomialLike, names: Sequence[str]) -> fmpq_mpoly:
    """Return the polynomial in Q[names], expanded.

    Raises `InputError` where it is not a polynomial in these variables with rational coefficients, or too big.
    """
    arithmetic = Arithmetic(names)
    if isinstance(polynomial, str):
        return Parser(polynomial, arithmetic).parse()
    if isinstance(polynomial, sympy.Poly):
        if polynomial.domain.is_FiniteField:
            raise InputError(f"{quote(str(polynomial))} has coefficients modulo a number: use rational ones")
        return _from_terms(polynomial.terms(), [str(g) for g in polynomial.gens], arithmetic)
    if isinstance(polynomial, fmpq_mpoly | fmpz_mpoly):
        return _from_terms(polynomial.terms(), list(polynomial.context().names()), arithmetic)
    if isinstance(polynomial, sympy.Expr):
        return _from_expression(polynomial, arithmetic, 0)
    if isinstance(polynomial, Rational):
        return arithmetic.constant(_rational(polynomial))
    raise InputError(
        f"expected a polynomial as text, a sympy expression or a sympy Poly, got {type(polynomial).__name__}"
    )


def to_flint_list(polys: PolynomialLike | Sequence[PolynomialLike], names: Sequence[str]) -> list[fmpq_mpoly]:
    """Return the polynomials of a list or tuple, or the single one, in Q[names]."""
    if not isinstance(polys, list | tuple):
        return [to_flint(cast(PolynomialLike, polys), names)]
    if not polys:
        raise InputError("the list of polynomials is empty: give at least one")
    return [to_flint(f, names) for f in polys]


def point(at: Sequence[Any] | None, names: Sequence[str]) -> list[Any]:
    """Return the coordinates: `fmpq` where rational, a real algebraic sympy number elsewhere; None is the origin."""
    if at is None:
        return [fmpq(0)] * len(names)
    if isinstance(at, str) or not isinstance(at, Iterable):
        raise InputError(f"the point must be a list of {len(names)} numbers, got {at!r}")
    values = list(at)
    if len(values) != len(names):
        raise InputError(f"the point has {len(values)} coordinates but the variables are {', '.join(names)}")
    return [_coordinate(value, name) for value, name in zip(values, names, strict=True)]


def translate(f: fmpq_mpoly, origin: Sequence[fmpq]) -> fmpq_mpoly:
    """Return f(origin + w) as a polynomial in w."""
    moved = [i for i, value in enumerate(origin) if value != 0]
    if not moved:
        return f
    terms = sum(prod(powers[i] + 1 for i in moved) for powers in f.monoms())
    if terms > MAX_TRANSLATED_TERMS:
        raise InputError(f"moving the origin to the point could give {terms} terms: lower the degree")
    return f.compose(*(w + value for w, value in zip(f.context().gens(), origin, strict=True)))


def show_point(origin: Sequence[Any]) -> str:
    """Return the point as text, such as (0, 1/2)."""
    return f"({', '.join(map(str, origin))})"


def _coordinate(value: Any, name: str) -> Any:
    if isinstance(value, str) and _RATIONAL.fullmatch(value.strip()):
        value = Fraction(value)
    elif hasattr(value, "__index__"):
        value = index(value)
    if isinstance(value, fmpq | sympy.Rational | Rational):
        return _rational(value)
    if isinstance(value, sympy.Expr) and not value.has(sympy.Float) and value.is_algebraic and value.is_real:
        return value
    raise InputError(f"coordinate {name} = {value} is not a rational or real algebraic number: write 1/2 for 0.5")


def _from_terms(terms: Iterable[Any], given: list[str], arithmetic: Arithmetic) -> fmpq_mpoly:
    collected: dict[tuple[int, ...], fmpq] = {}
    for powers, coefficient in terms:
        exponents = dict.fromkeys(arithmetic.names, 0)
        for name, power in zip(given, powers, strict=True):
            if power:
                arithmetic.variable(name)
                exponents[name] = int(power)
        collected[tuple(exponents.values())] = _rational(coefficient)
    return arithmetic.context.from_dict(collected)


def _from_expression(expression: sympy.Expr, arithmetic: Arithmetic, depth: int) -> fmpq_mpoly:
    if depth > MAX_NESTING:
        raise InputError(f"the expression is nested deeper than {MAX_NESTING}: expand it first")
    if isinstance(expression, sympy.Symbol):
        return arithmetic.variable(expression.name)
    if expression.is_number:
        return arithmetic.constant(_rational(expression))
    if isinstance(expression, sympy.Add | sympy.Mul):
        parts = [_from_expression(part, arithmetic, depth + 1) for part in expression.args]
        if isinstance(expression, sympy.Add):
            return arithmetic.add(parts)
        value = parts[0]
        for part in parts[1:]:
            value = arithmetic.multiply(value, part)
        return value
    if isinstance(expression, sympy.Pow) and expression.exp.is_Integer and expression.exp >= 0:
        if expression.exp > MAX_DEGREE:
            refuse(f"an exponent is beyond {MAX_DEGREE}")
        base = _from_expression(expression.base, arithmetic, depth + 1)
        return arithmetic.power(base, int(expression.exp))
    raise InputError(f"{quote(str(expression))} is not a polynomial: use + - * and non-negative integer powers")


def _rational(value: Any) -> fmpq:
    if isinstance(value, fmpq):
        return value
    if isinstance(value, sympy.Rational):
        return fmpq(int(value.p), int(value.q))
    if isinstance(value, Rational):
        return fmpq(int(value.numerator), int(value.denominator))
    if isinstance(value, sympy.Expr | float):
        raise InputError(f"coefficient {quote(str(value))} is not a rational number: write 1/2 for 0.5")
    return fmpq(value)


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
