"""Checks shared by the closed forms: integers in a range, or one line that says what would work."""

from __future__ import annotations

from collections.abc import Iterable

from samplers.errors import InputError


def whole(value: object, name: str, minimum: int = 0) -> int:
    """Return `value` as an int, or raise InputError unless it is an integer >= `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be an integer >= {minimum}, got {value!r}")
    if value < minimum:
        raise InputError(f"{name} must be >= {minimum}, got {value}")
    return value


def whole_list(values: Iterable[object], name: str, minimum: int = 0, shortest: int = 1) -> tuple[int, ...]:
    """Return `values` as a tuple of ints >= `minimum`, at least `shortest` of them, or raise InputError."""
    checked = tuple(whole(value, f"{name}[{i}]", minimum) for i, value in enumerate(values))
    if len(checked) < shortest:
        raise InputError(f"{name} needs at least {shortest} entries, got {len(checked)}")
    return checked
