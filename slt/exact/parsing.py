"""Reading a polynomial from text: a tokenizer and a recursive descent, nothing is ever evaluated as Python.

sum     = ["+" | "-"] product { ("+" | "-") product }
product = power { ("*" | "/") signed }        the divisor is a non-zero number
signed  = { "+" | "-" } power
power   = atom [ ("**" | "^") signed ]        the exponent is a non-negative integer
atom    = number | name | "(" sum ")"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from flint import fmpq, fmpq_mpoly

from samplers.errors import InputError
from slt.exact.arithmetic import MAX_DEGREE, Arithmetic

MAX_TEXT = 200_000
MAX_DIGITS = 1000
MAX_NESTING = 60

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+\.\d*|\.\d+|\d+)|(?P<name>[^\W\d]\w*)|(?P<operator>\*\*|[-+*/^()]))")


@dataclass(frozen=True)
class Token:
    """One piece of the text: kind is "number", "name", "operator" or "end"."""

    kind: str
    text: str
    position: int


def tokenize(text: str) -> list[Token]:
    """Split into tokens; raises `InputError` naming the first character that belongs to no polynomial."""
    if len(text) > MAX_TEXT:
        raise InputError(f"the polynomial's text has {len(text)} characters: at most {MAX_TEXT} are read")
    tokens, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            at = position + len(text[position:]) - len(text[position:].lstrip())
            raise InputError(f"'{text[at]}' at position {at + 1} of {quote(text)} is not part of a polynomial")
        kind = match.lastgroup or ""
        tokens.append(Token(kind, match[kind], match.start(kind)))
        position = match.end()
    return [*tokens, Token("end", "", end)]


class Parser:
    """Parses one text with the given arithmetic, whose variables are the only names accepted."""

    def __init__(self, text: str, arithmetic: Arithmetic):
        self._text, self._arithmetic = text, arithmetic
        self._tokens, self._next, self._depth = tokenize(text), 0, 0

    def parse(self) -> fmpq_mpoly:
        """Return the polynomial; raises `InputError` on anything else."""
        value = self._sum()
        token = self._peek()
        if token.kind != "end":
            hint = "check the parentheses" if token.kind == "operator" else "write 2*x for a product, 1000 for 1e3"
            raise self._error(f"unexpected '{token.text}'", token, hint)
        return value

    def _sum(self) -> fmpq_mpoly:
        parts = [self._product(negate=self._accept("+", "-") == "-")]
        while sign := self._accept("+", "-"):
            parts.append(self._product(negate=sign == "-"))
        return self._arithmetic.add(parts)

    def _product(self, negate: bool) -> fmpq_mpoly:
        value = self._signed()
        while operator := self._accept("*", "/"):
            token = self._peek()
            factor = self._signed()
            if operator == "/":
                factor = self._arithmetic.constant(1 / self._divisor(factor, token))
            value = self._arithmetic.multiply(value, factor)
        return -value if negate else value

    def _signed(self) -> fmpq_mpoly:
        negate = False
        while sign := self._accept("+", "-"):
            negate ^= sign == "-"
        value = self._power()
        return -value if negate else value

    def _power(self) -> fmpq_mpoly:
        base = self._atom()
        if not self._accept("**", "^"):
            return base
        token = self._peek()
        self._deeper(token)
        exponent = self._signed()
        self._depth -= 1
        return self._arithmetic.power(base, self._exponent(exponent, token))

    def _atom(self) -> fmpq_mpoly:
        token = self._tokens[self._next]
        self._next += 1
        if token.kind == "number":
            return self._arithmetic.constant(self._number(token))
        if token.kind == "name":
            if self._peek().text == "(":
                raise self._error(f"'{token.text}(' is a function call or a missing *", token)
            return self._arithmetic.variable(token.text)
        if token.text != "(":
            found = f"'{token.text}'" if token.text else "the end"
            raise self._error(f"expected a number, a variable or '(' but found {found}", token)
        self._deeper(token)
        value = self._sum()
        if not self._accept(")"):
            raise self._error("a parenthesis is not closed", token)
        self._depth -= 1
        return value

    def _number(self, token: Token) -> fmpq:
        if len(token.text) > MAX_DIGITS:
            raise self._error(f"a number of {len(token.text)} digits", token, f"at most {MAX_DIGITS} are read")
        value = Fraction(token.text)
        return fmpq(value.numerator, value.denominator)

    def _divisor(self, value: fmpq_mpoly, token: Token) -> fmpq:
        if not value.is_constant():
            raise self._error("division by a variable", token, "divide by numbers only")
        if value.is_zero():
            raise self._error("division by zero", token)
        return value.leading_coefficient()

    def _exponent(self, value: fmpq_mpoly, token: Token) -> int:
        exponent = value.leading_coefficient() if value.is_constant() and not value.is_zero() else fmpq(0)
        if not value.is_constant() or exponent.q != 1 or exponent < 0:
            raise self._error("an exponent is not a non-negative integer", token)
        if exponent > MAX_DEGREE:
            raise self._error("an exponent is too big", token, f"the largest allowed is {MAX_DEGREE}")
        return int(exponent.p)

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _accept(self, *operators: str) -> str:
        token = self._peek()
        if token.kind != "operator" or token.text not in operators:
            return ""
        self._next += 1
        return token.text

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error(f"parentheses and powers nested deeper than {MAX_NESTING}", token)

    def _error(self, problem: str, token: Token, hint: str = "") -> InputError:
        place = f"{problem} at position {token.position + 1} of {quote(self._text)}"
        return InputError(f"{place}: {hint}" if hint else place)


def quote(text: str, limit: int = 60) -> str:
    """Return the text on one line in quotes, shortened in the middle."""
    line = " ".join(text.split())
    if len(line) > limit:
        line = f"{line[: limit - 20]}...{line[-15:]}"
    return f"'{line}'"
