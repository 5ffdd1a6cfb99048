"""Lists that the closed forms are given, checked: whole numbers in a range, or one line that says what would work."""

from __future__ import annotations

from collections.abc import Iterable

from samplers.arguments import whole
from samplers.errors import InputError


def whole_list(values: Iterable[object], name: str, minimum: int = 0, shortest: int = 1) -> tuple[int, ...]:
    """Return `values` as a tuple of ints >= `minimum`, at least `shortest` of them, or raise InputError."""
    checked = tuple(whole(value, f"{name}[{i}]", minimum) for i, value in enumerate(values))
    if len(checked) < shortest:
        raise InputError(f"{name} needs at least {shortest} entries, got {len(checked)}")
    return checked
