"""One-hidden-layer ReLU networks without biases on one input."""

from __future__ import annotations

from fractions import Fraction

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.rlct import RLCT


def relu_network(units: int, true_units: int = 0, dead: bool = False) -> RLCT:
    """f(x) = Σ_h a_h relu(b_h x), at the origin for truth zero, or one unit on a non-zero truth.

    λ is the exponent of the volume, the smallest over the chambers on which f is a polynomial:

    - truth zero, inputs of both signs: (½, 2) for one unit, K comparable to (ab)²; (½, 1) for more, where the
      chamber of equal signs has K comparable to (Σ a_h b_h)² and a quadratic form in four or more variables;
    - one unit, truth a* relu(b* x) non-zero: (½, 1), the scaling orbit is flat;
    - `dead`: inputs of one sign only, or any unit off on all of the data: K = 0 on an open set and λ = 0.

    Raises InputError for true_units > 0 with more than one unit: not covered.
    """
    p, r = whole(units, "units", 1), whole(true_units, "true_units")
    if dead and r == 0:
        return RLCT(Fraction(0), 1, True, "relu network, K = 0 on an open set")
    if r > p:
        raise InputError(f"true_units must be at most units = {p}, got {r}: the truth would not be realisable")
    if r > 0 and p > 1:
        raise InputError(f"a non-zero relu truth is covered for one unit only, got {p} units and {r} true units")
    return RLCT(Fraction(1, 2), 2 if r == 0 and p == 1 else 1, True, "relu network, smallest chamber")
