"""Non-negative matrix factorization and latent Dirichlet allocation."""

from __future__ import annotations

from fractions import Fraction

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.families.reduced_rank import reduced_rank
from slt.exact.rlct import RLCT


def nonnegative_factorization(rows: int, hidden: int, columns: int) -> RLCT:
    """XY with non-negative X: M×H, Y: H×N, truth zero: λ = H min(M, N)/2, m = 1 + H [M = N].

    Without signs nothing cancels: K is comparable to Σ_k ‖x_k‖² ‖y_k‖². For a non-zero truth only upper
    bounds are known (Hayashi & Watanabe 2017, arXiv:1612.04112).
    """
    M, H, N = whole(rows, "M (rows)", 1), whole(hidden, "H (hidden)", 1), whole(columns, "N (columns)", 1)
    return RLCT(
        Fraction(H * min(M, N), 2),
        1 + H * (M == N),
        True,
        "non-negative factorization of zero, no cancellation",
    )


def latent_dirichlet(words: int, topics: int, documents: int, rank: int) -> RLCT:
    """Latent Dirichlet allocation, stochastic M×H times H×N, truth of r <= H topics, interior.

    λ = λ_RRR(M, H, N, r) - N/2 with the same m, λ_RRR of `reduced_rank` (Hayashi 2021, Neural Networks 137,
    arXiv:2008.01304). Checked by another route for r = 1 and for H = r; otherwise exact = False.

    Raises InputError unless M, N, H >= 1 and 1 <= r <= min(M, N, H).
    """
    r = whole(rank, "r (true topics)")
    if r < 1:
        raise InputError(f"r (true topics) must be >= 1, got {r}: a stochastic matrix is never zero")
    answer = reduced_rank(words, topics, documents, r)
    checked = r == 1 or topics == r
    method = "latent Dirichlet allocation (Hayashi 2021)" + ("" if checked else ", formula not cross-checked here")
    return RLCT(answer.learning_coefficient - Fraction(documents, 2), answer.multiplicity, checked, method)
