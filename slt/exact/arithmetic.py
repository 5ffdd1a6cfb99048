"""Polynomial arithmetic over the rationals that refuses, before it starts, what would not fit in memory or time."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, prod
from typing import NoReturn

from flint import Ordering, fmpq, fmpq_mpoly, fmpq_mpoly_ctx

from samplers.errors import InputError

MAX_VARIABLES = 500
MAX_DEGREE = 1000
MAX_TERMS = 20_000
MAX_BITS = 10_000
MAX_WORK = 20_000_000  # products of terms over one expression: about a second


class Arithmetic:
    """Sums, products and powers in Q[names]; raises `InputError` at a step that would exceed a limit."""

    def __init__(self, names: Sequence[str]):
        if len(names) > MAX_VARIABLES:
            raise InputError(f"{len(names)} variables are too many: at most {MAX_VARIABLES} are supported")
        self.names = tuple(names)
        # flint takes ASCII names only, so the context's own are x0, x1, ...
        self.context = fmpq_mpoly_ctx.get(("x", len(self.names)), Ordering.lex)
        self._generators = dict(zip(names, self.context.gens(), strict=True))
        self._work = 0

    def variable(self, name: str) -> fmpq_mpoly:
        """Return the generator of that name."""
        if name not in self._generators:
            known = ", ".join(self._generators) or "none"
            raise InputError(f"unknown variable '{name}': the variables are {known}")
        return self._generators[name]

    def constant(self, value: fmpq) -> fmpq_mpoly:
        """Return the constant polynomial."""
        if max(int(value.p).bit_length(), int(value.q).bit_length()) > MAX_BITS:
            refuse("a coefficient has too many digits")
        return self.context.constant(value)

    def add(self, parts: Sequence[fmpq_mpoly]) -> fmpq_mpoly:
        """Return the sum, added in a balanced tree so that n parts cost n log n."""
        self._spend(sum(map(len, parts)) * len(parts).bit_length())
        while len(parts) > 1:
            parts = [sum(parts[i + 1 : i + 2], parts[i]) for i in range(0, len(parts), 2)]
        return self._small(parts[0]) if parts else self.context.constant(0)

    def multiply(self, a: fmpq_mpoly, b: fmpq_mpoly) -> fmpq_mpoly:
        """Return a b."""
        _check_degree(_degree(a) + _degree(b))
        self._spend(len(a) * len(b))
        return self._small(a * b)

    def power(self, base: fmpq_mpoly, exponent: int) -> fmpq_mpoly:
        """Return base^exponent, exponent >= 0."""
        if exponent == 0 or len(base) == 0:
            return self.context.constant(0 if exponent else 1)
        _check_degree(max(_degree(base), 1) * exponent)
        terms = min(
            comb(exponent + len(base) - 1, exponent),
            prod(degree * exponent + 1 for degree in base.degrees()),
        )
        if terms > MAX_TERMS:
            refuse(f"a power would have up to {terms} terms")
        if (_bits(base) + len(base).bit_length()) * exponent > MAX_BITS:
            refuse("a coefficient would have too many digits")
        self._spend(terms * len(base))
        return self._small(base**exponent)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            refuse("expanding it takes too many operations")

    def _small(self, value: fmpq_mpoly) -> fmpq_mpoly:
        self._spend(50 * len(value))
        if len(value) > MAX_TERMS:
            refuse(f"it has {len(value)} terms")
        if _bits(value) > MAX_BITS:
            refuse("a coefficient has too many digits")
        return value


def refuse(reason: str) -> NoReturn:
    """Raise the error for a polynomial that is too big."""
    raise InputError(
        f"the polynomial is too big: {reason}; the limits are degree {MAX_DEGREE}, {MAX_TERMS} terms and "
        f"coefficients of {MAX_BITS} bits"
    )


def _check_degree(degree: int) -> None:
    if degree > MAX_DEGREE:
        refuse(f"degree {degree}" if degree < 10**9 else "an enormous degree")


def _degree(value: fmpq_mpoly) -> int:
    return int(value.total_degree()) if len(value) else 0


def _bits(value: fmpq_mpoly) -> int:
    return max((max(int(c.p).bit_length(), int(c.q).bit_length()) for c in value.coeffs()), default=0)
