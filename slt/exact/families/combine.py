"""Disjoint sums and products: models which share no parameter."""

from __future__ import annotations

from samplers.errors import InputError
from slt.exact.rlct import RLCT


def _checked(parts: tuple[RLCT, ...], what: str) -> tuple[RLCT, ...]:
    if not parts:
        raise InputError(f"a disjoint {what} needs at least one RLCT, got none")
    for part in parts:
        if not isinstance(part, RLCT):
            raise InputError(f"a disjoint {what} combines RLCT values, got {type(part).__name__}")
    return parts


def disjoint_sum(*parts: RLCT) -> RLCT:
    """K = Σ K_i(w_i), K_i >= 0, disjoint parameters: λ = Σ λ_i, m = 1 + Σ (m_i - 1).

    The partition functions multiply, so the powers of t add and the powers of log t add (Watanabe 2009,
    section 7).
    """
    parts = _checked(parts, "sum")
    return RLCT(
        sum((part.learning_coefficient for part in parts), start=parts[0].learning_coefficient * 0),
        1 + sum(part.multiplicity - 1 for part in parts),
        all(part.exact for part in parts),
        "disjoint sum of: " + "; ".join(dict.fromkeys(part.method for part in parts)),
    )


def disjoint_product(*parts: RLCT) -> RLCT:
    """K = ∏ K_i(w_i), K_i >= 0, disjoint parameters: λ = min λ_i, m = Σ m_i over the minimisers.

    The zeta functions multiply, so poles at the same place add their orders (Watanabe 2009, section 7).
    """
    parts = _checked(parts, "product")
    smallest = min(part.learning_coefficient for part in parts)
    return RLCT(
        smallest,
        sum(part.multiplicity for part in parts if part.learning_coefficient == smallest),
        all(part.exact for part in parts),
        "disjoint product of: " + "; ".join(dict.fromkeys(part.method for part in parts)),
    )
