"""Reduced-rank regression, the two-layer linear network."""

from __future__ import annotations

from fractions import Fraction

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.rlct import RLCT

_METHOD = "reduced-rank regression (Aoyagi & Watanabe 2005), case {}"


def reduced_rank(inputs: int, hidden: int, outputs: int, rank: int) -> RLCT:
    """y = BAx with A: H×M, B: N×H and true rank r, at the most singular true parameter.

    With M inputs, H hidden units, N outputs (Aoyagi & Watanabe 2005, Neural Networks 18, 924-933):

    1. N+r <= M+H, M+r <= N+H, H+r <= M+N:  λ = [2(H+r)(M+N) - (M-N)² - (H+r)² + δ]/8,
       with (δ, m) = (0, 1) when M+N+H+r is even and (1, 2) when it is odd;
    2. M+H < N+r:  λ = (HM - Hr + Nr)/2, m = 1;
    3. N+H < M+r:  λ = (HN - Hr + Mr)/2, m = 1;
    4. M+N < H+r:  λ = MN/2, m = 1.

    Raises InputError unless M, H, N >= 1 and 0 <= r <= min(M, N, H).
    """
    M, H, N = whole(inputs, "M (inputs)", 1), whole(hidden, "H (hidden)", 1), whole(outputs, "N (outputs)", 1)
    r = whole(rank, "r (true rank)")
    if r > min(M, N, H):
        raise InputError(f"r (true rank) must be at most min(M, H, N) = {min(M, H, N)}, got {r}")
    if N + r > M + H:
        return RLCT(Fraction(H * M - H * r + N * r, 2), 1, True, _METHOD.format(2))
    if M + r > N + H:
        return RLCT(Fraction(H * N - H * r + M * r, 2), 1, True, _METHOD.format(3))
    if H + r > M + N:
        return RLCT(Fraction(M * N, 2), 1, True, _METHOD.format(4))
    odd = (M + N + H + r) % 2
    eightfold = 2 * (H + r) * (M + N) - (M - N) ** 2 - (H + r) ** 2 + odd
    return RLCT(Fraction(eightfold, 8), 1 + odd, True, _METHOD.format(1))
