"""Polynomials each of whose coefficients is a product of its own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from samplers.errors import InputError
from slt.exact.families.arguments import whole_list
from slt.exact.rlct import RLCT

FIFTEEN_PARAMETER_MACHINE = (1, 2, 3, 4, 5)
_METHOD = "products of own parameters: disjoint sum of normal crossings (Watanabe 2009)"


def factorized_polynomial(factors: Sequence[int], vanishing: Sequence[int] | None = None) -> RLCT:
    """f(x) = Σ_j c_j x^j with c_j the product of k_j parameters of its own, squared loss, any true f.

    K is two-sided comparable to Σ_j (c_j - c_j*)². `factors` are the k_j; `vanishing` are the numbers z_j of
    factors of c_j which are zero at the point in question: z_j = 0 exactly where c_j* is non-zero, z_j = k_j
    at the deepest point of a vanishing coefficient (the default, for all). Every coefficient contributes ½ to
    λ whatever its truth, and z_j - 1 to m where it vanishes:

        λ = (number of coefficients)/2,    m = 1 + Σ_{z_j > 0} (z_j - 1).

    Raises InputError unless every k_j >= 1 and 0 <= z_j <= k_j.
    """
    sizes = whole_list(factors, "factors", minimum=1)
    zeros = whole_list(vanishing, "vanishing") if vanishing is not None else sizes
    if len(zeros) != len(sizes):
        raise InputError(f"got {len(sizes)} coefficients but {len(zeros)} counts of vanishing factors: give one each")
    for j, (k, z) in enumerate(zip(sizes, zeros, strict=True)):
        if z > k:
            raise InputError(f"coefficient {j} has {k} factors, so vanishing[{j}] must be at most {k}, got {z}")
    return RLCT(Fraction(len(sizes), 2), 1 + sum(max(z - 1, 0) for z in zeros), True, _METHOD)


def fifteen_parameter_machine(vanishing: Sequence[int] = FIFTEEN_PARAMETER_MACHINE) -> RLCT:
    """f(x) = θ1 + θ2θ3 x + θ4θ5θ6 x² + ... + θ11...θ15 x⁴: λ = 5/2 at every zero, and m from 1 to 11.

    `vanishing` as in `factorized_polynomial`: (1, 2, 3, 4, 5) is the origin (m = 11), (1, 1, 1, 1, 1) a
    generic zero of the zero function (m = 1), (0, 0, 3, 4, 5) the deepest zero of a truth c0 + c1 x (m = 10).
    """
    return factorized_polynomial(FIFTEEN_PARAMETER_MACHINE, vanishing)
