"""Deep linear networks of any depth, widths and rank."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.families.arguments import whole_list
from slt.exact.rlct import RLCT

_METHOD = "deep linear network (Aoyagi 2024)"


def deep_linear(widths: Sequence[int], rank: int) -> RLCT:
    """y = W_L ... W_1 x with widths H_0 (inputs), ..., H_L (outputs) and a truth of rank r.

    Aoyagi 2024 (Neural Networks 172, 106132). With M_j = H_j - r, S is the set of the l+1 smallest M_j for
    which max_S < min of the rest, Σ_S >= l max_S and Σ_S < l min of the rest. With M̄ = ⌈Σ_S/l⌉ and a = Σ_S -
    (M̄-1) l:

        λ = [r(H_0+H_L) - r²]/2 + a(l-a)/(4l) - l(l-1)/4 (Σ_S/l)² + ½ Σ_{i<j in S} M_i M_j,    m = a(l-a) + 1.

    If some M_j = 0 the second part vanishes and m = 1. For r > 0 the multiplicity rests on the reduction to
    rank zero by a Schur complement.

    Raises InputError for fewer than two widths, a width < 1, or r outside 0..min(widths).
    """
    H = whole_list(widths, "widths", minimum=1, shortest=2)
    r = whole(rank, "r (true rank)")
    if r > min(H):
        raise InputError(f"r (true rank) must be at most the smallest width {min(H)}, got {r}")
    regular_part = Fraction(r * (H[0] + H[-1]) - r * r, 2)
    if len(H) == 2:
        return RLCT(Fraction(H[0] * H[1], 2), 1, True, "linear regression, d/2")
    if r == min(H):
        return RLCT(regular_part, 1, True, _METHOD)
    chosen = _active_widths(sorted(width - r for width in H))
    ell, total = len(chosen) - 1, sum(chosen)
    a = total - (-(-total // ell) - 1) * ell
    pairs = Fraction(total * total - sum(width * width for width in chosen), 2)
    singular_part = Fraction(a * (ell - a), 4 * ell) - Fraction((ell - 1) * total * total, 4 * ell) + pairs / 2
    return RLCT(regular_part + singular_part, a * (ell - a) + 1, True, _METHOD)


def _active_widths(ascending: list[int]) -> list[int]:
    """Return the smallest widths that shape the singularity; `ascending` are the M_j, all positive."""
    for ell in range(1, len(ascending)):
        chosen, rest = ascending[: ell + 1], ascending[ell + 1 :]
        total = sum(chosen)
        bounded = not rest or (chosen[-1] < rest[0] and total < ell * rest[0])
        if total >= ell * chosen[-1] and bounded:
            return chosen
    raise AssertionError(f"no active set among widths {ascending}")  # the theorem says that there is one
