"""Toy model of superposition with two hidden dimensions."""

from __future__ import annotations

from fractions import Fraction

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.rlct import RLCT

_POLYGON = "superposition k-gon: Morse-Bott, half the Hessian rank (Chen et al. 2023)"
_FOUR_GON = "superposition 4-gon: volume exponent of a C1 loss by transverse dimension, not proved"


def superposition_polygon(sides: int, columns: int, plus: int = 0) -> RLCT:
    """f(x) = ReLU(WᵀWx + b), W in R^(2×c), high-sparsity data, at the regular k-gon, `plus` dead biases live.

    k columns form a regular k-gon with a common bias; the other c - k columns are zero, `plus` of them with
    bias 1/(2c) and the rest with negative bias (Chen, Lau, Mendel, Wei & Murfet 2023, arXiv:2310.06301).

    k in 5..8: the loss is Morse-Bott, of Hessian rank 3k - 1 + 3 plus; λ = (3k - 1 + 3 plus)/2, m = 1. k = 4:
    the outputs sit on the kink of the ReLU and the loss is C1, not C2. λ = 11/2 + (c - 4) + plus/2 is half
    the dimension transverse to the flat directions, the exponent of the volume. Not proved, hence exact =
    False; published values for 4-gons are direction-dependent half Hessian ranks and smaller.

    With both live and dead columns left over, moving one of each against the other lowers the loss: for k >= 5, and for
    k = 4 with c > 8, such points are saddles and have no learning coefficient.

    Raises InputError for k outside 4..8, c < k, plus outside 0..c-k, and at those saddles.
    """
    k, c, p = whole(sides, "sides"), whole(columns, "columns", 1), whole(plus, "plus")
    if not 4 <= k <= 8:
        raise InputError(f"k-gons are covered for 4 <= k <= 8, got k = {k}")
    if c < k:
        raise InputError(f"a {k}-gon needs at least {k} columns, got {c}")
    if p > c - k:
        raise InputError(f"plus must be at most columns - sides = {c - k}, got {p}")
    if 0 < p < c - k and (k > 4 or c > 8):
        raise InputError(
            f"the {k}-gon with {c} columns and plus = {p} is a saddle, without a learning coefficient: "
            f"plus must be 0 or columns - sides = {c - k}"
        )
    if k == 4:
        return RLCT(Fraction(11 + 2 * (c - 4) + p, 2), 1, False, _FOUR_GON)
    return RLCT(Fraction(3 * k - 1 + 3 * p, 2), 1, True, _POLYGON)


def superposition_four_minus() -> RLCT:
    """The 4⁻-gon with c = 6: columns e1, e2, -e1 live, three dead features on the ray -e2, generic lengths.

    λ = 11/2, m = 1, by counting transverse directions as for the 4-gons; not proved.
    """
    return RLCT(Fraction(11, 2), 1, False, _FOUR_GON)
