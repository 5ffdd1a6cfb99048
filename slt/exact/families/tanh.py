"""One-hidden-layer tanh networks without biases."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.rlct import RLCT

_MOST_UNITS = 50  # placing spare units is a search, cheap to here


def tanh_network(units: int, true_units: int = 0) -> RLCT:
    """f(x) = Σ_h a_h tanh(b_h x), p units, one input, one output; the truth has r distinct non-zero units.

    r = 0: λ = (p + i² + i)/(4i + 2) with i = ⌊√p⌋, m = 2 if p = i² else 1 (Aoyagi & Watanabe 2005, IEICE
    Trans. J88-D-II, 2112-2124). r = p: regular, λ = p, m = 1. 0 < r < p: the smallest value over all zeros,
    in which each of the p - r spare units sits at zero or on a true unit; derived by power counting on the
    scales of the spare units and supported by quadrature, not by a published theorem, hence exact = False.

    Raises InputError unless units >= 1 and 0 <= true_units <= units, and for more than 50 units with spare
    ones.
    """
    p, r = whole(units, "units", 1), whole(true_units, "true_units")
    if r > p:
        raise InputError(f"true_units must be at most units = {p}, got {r}: the truth would not be realisable")
    if r == 0:
        i = isqrt(p)
        return RLCT(
            Fraction(p + i * i + i, 4 * i + 2),
            2 if i * i == p else 1,
            True,
            "tanh network (Aoyagi & Watanabe 2005)",
        )
    if r == p:
        return RLCT(Fraction(p), 1, True, "tanh network with no spare unit: regular, d/2")
    if p > _MOST_UNITS:
        raise InputError(f"tanh networks with spare units are covered up to {_MOST_UNITS} units, got {p}")
    coefficient, multiplicity = _park_spare_units(p - r, r)
    return RLCT(r + coefficient, multiplicity, False, "tanh network with spare units: power counting, not proved")


def _on_true_unit(spare: int) -> tuple[Fraction, int]:
    """Return (λ, m) of s spare units on one true unit: min over β of sβ + Σ_{k=2}^{s+1} (½ - kβ)_+."""
    candidates = [Fraction(0), *(Fraction(1, 2 * k) for k in range(2, spare + 2))]

    def cost(beta: Fraction) -> Fraction:
        return spare * beta + sum(max(Fraction(1, 2) - k * beta, Fraction(0)) for k in range(2, spare + 2))

    values = [cost(beta) for beta in candidates]
    return min(values), values.count(min(values))


def _park_spare_units(spare: int, true_units: int) -> tuple[Fraction, int]:
    """Return the smallest λ, then largest m, over ways to place spare units at zero or on true units.

    Parts at different places share no leading-order direction, so they combine as a disjoint sum. A place is
    worth its (λ, m); `best[q]` is the best of q units over the places seen so far.
    """

    def at_zero(q: int) -> tuple[Fraction, int]:
        if q == 0:
            return Fraction(0), 1
        answer = tanh_network(q)
        return answer.learning_coefficient, answer.multiplicity

    best = [at_zero(q) for q in range(spare + 1)]
    on_unit = [_on_true_unit(s) for s in range(spare + 1)]
    for _ in range(true_units):
        best = [
            min(
                ((best[q - s][0] + on_unit[s][0], best[q - s][1] + on_unit[s][1] - 1) for s in range(q + 1)),
                key=lambda value: (value[0], -value[1]),
            )
            for q in range(spare + 1)
        ]
    return best[spare]


def tanh_unit(inputs: int, outputs: int) -> RLCT:
    """One unit a tanh(b·x), a in R^outputs, b in R^inputs, truth 0: λ = min(in, out)/2, m = 1 + [in = out].

    K is two-sided comparable to ‖a‖²‖b‖², a disjoint product.
    """
    inputs, outputs = whole(inputs, "inputs", 1), whole(outputs, "outputs", 1)
    return RLCT(Fraction(min(inputs, outputs), 2), 1 + (inputs == outputs), True, "single tanh unit, ‖a‖²‖b‖²")
