"""Numbers that callers give, Python's or NumPy's, checked: one line that says what would work, or a plain number."""

from __future__ import annotations

from math import inf, nan
from numbers import Integral, Real

from samplers.errors import InputError


def whole(value: object, name: str, minimum: int = 0) -> int:
    """`value` as an int. Raises InputError unless it is a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise InputError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    return int(value)


def not_negative(value: object, name: str) -> float:
    """`value` as a float. Raises InputError unless it is at least 0 and finite."""
    number = _real(value)
    if not 0 <= number < inf:
        raise InputError(f"{name} must be at least 0 and finite, got {value!r}")
    return number


def positive(value: object, name: str) -> float:
    """`value` as a float. Raises InputError unless it is positive and finite."""
    number = _real(value)
    if not 0 < number < inf:
        raise InputError(f"{name} must be positive and finite, got {value!r}")
    return number


def _real(value: object) -> float:
    """`value` as a float; NaN, which lies in no range, for what is no number."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
