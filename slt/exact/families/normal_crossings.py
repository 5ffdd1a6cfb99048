"""Regular models, normal crossings and powers of a norm."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.families.arguments import whole_list
from slt.exact.rlct import RLCT


def regular(dimension: int, free: int = 0) -> RLCT:
    """Non-degenerate minimum in `dimension` parameters: λ = d/2, m = 1; `free` flat parameters add nothing.

    The Laplace approximation (Schwarz 1978); as an RLCT, Watanabe 2009.
    """
    dimension, free = whole(dimension, "dimension"), whole(free, "free")
    if dimension + free == 0:
        raise InputError("a regular model needs at least one parameter, got dimension 0 and no free ones")
    return RLCT(Fraction(dimension, 2), 1, True, "regular model, d/2")


def normal_crossings(exponents: Sequence[int], jacobian: Sequence[int] | None = None) -> RLCT:
    """K = ∏ |w_j|^(a_j), prior density ∝ ∏ |w_j|^(h_j): λ = min (h_j + 1)/a_j at 0, m = number of minimisers.

    `exponents` are the a_j of K itself (w1² w2⁴ is [2, 4]); a_j = 0 is a parameter K does not depend on.
    `jacobian` are the h_j, zero by default: the powers which a change of variables or a vanishing prior
    leaves behind. Watanabe 2009, theorem 6.6 and the state-density formula around it.

    Raises InputError for negative exponents, no positive exponent, or lists of different lengths.
    """
    powers = whole_list(exponents, "exponents")
    if max(powers) == 0:
        raise InputError("exponents are all 0: K is constant, give at least one positive exponent")
    weights = whole_list(jacobian, "jacobian") if jacobian is not None else (0,) * len(powers)
    if len(weights) != len(powers):
        raise InputError(f"got {len(powers)} exponents but {len(weights)} Jacobian exponents: give one per variable")
    ratios = [Fraction(h + 1, a) for a, h in zip(powers, weights, strict=True) if a > 0]
    return RLCT(min(ratios), ratios.count(min(ratios)), True, "normal crossings, min (h+1)/a (Watanabe 2009)")


def norm_power(dimension: int, degree: int) -> RLCT:
    """K two-sided comparable to ‖w‖^degree on R^d: λ = d/degree, m = 1.

    Such is any form of that degree which is positive off 0. Polar coordinates turn K into r^degree with
    Jacobian r^(d-1).
    """
    dimension, degree = whole(dimension, "dimension", 1), whole(degree, "degree", 1)
    return RLCT(Fraction(dimension, degree), 1, True, "power of a norm, d/degree")
