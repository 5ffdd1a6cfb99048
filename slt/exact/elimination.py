"""Using up the generators of an ideal that are smooth coordinates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

MAX_TERMS = 20_000


def eliminate(generators: Sequence[Any], usable: Collection[int]) -> tuple[list[Any], set[int]]:
    """Return generators of the rest of the ideal in fewer variables, and the variables eliminated.

    A generator f = u x_j + g, u and g free of x_j and u != 0 at the origin, can replace the coordinate x_j. As
    h(x_j) - h(-g/u) is a multiple of f for every other generator h, the ideal is that of f and of the h(-g/u), times
    powers of u to clear denominators: Σ f_i² is comparable to f² plus the same sum for the rest. Each variable
    eliminated adds 1/2 to λ and nothing to m. `usable` are the j whose prior density has no power of x_j.

    The generators are sympy ring elements over any field.
    """
    rest = [f for f in generators if f]
    gone: set[int] = set()
    while (step := _step(rest, [j for j in usable if j not in gone])) is not None:
        j, rest = step
        gone.add(j)
    return rest, gone


def _step(generators: Sequence[Any], usable: Sequence[int]) -> tuple[int, list[Any]] | None:
    """Eliminate one variable by the shortest generator that allows it; None where none does."""
    for position in sorted(range(len(generators)), key=lambda i: len(generators[i])):
        others = [h for i, h in enumerate(generators) if i != position]
        for j in usable:
            parts = _collect(generators[position], j)
            if len(parts) == 2 and parts[1].coeff(1):
                length = max(map(len, parts))
                if all(len(h) * length ** max(h.degree(j), 0) <= MAX_TERMS for h in others):
                    substituted = [_substitute(h, j, -parts[0], parts[1]) for h in others]
                    return j, [h for h in substituted if h]
    return None


def _collect(f: Any, j: int) -> list[Any]:
    """Return the coefficients of x_j^0, x_j^1, ... in f."""
    parts: list[dict[Any, Any]] = [{} for _ in range(f.degree(j) + 1)]
    for powers, coefficient in f.terms():
        parts[powers[j]][(*powers[:j], 0, *powers[j + 1 :])] = coefficient
    return [f.ring.from_dict(part) for part in parts]


def _substitute(h: Any, j: int, numerator: Any, denominator: Any) -> Any:
    """Return denominator^k h with x_j = numerator/denominator, k the degree of h in x_j."""
    result, power = h.ring.zero, h.ring.one
    for coefficient in reversed(_collect(h, j)):
        result = result * numerator + coefficient * power
        power = power * denominator
    return result
