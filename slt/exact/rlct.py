"""The answer of every exact computation: a learning coefficient with its multiplicity."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class RLCT:
    """Learning coefficient λ and multiplicity m of K at a point.

    With φ a positive density near the point, ∫ exp(-t K) φ dw ~ C t^(-λ) (log t)^(m-1) as t → ∞; equivalently
    -λ is the largest pole of ζ(s) = ∫ K^s φ dw and m its order (Watanabe 2009).

    `exact` is False where `learning_coefficient` is only known to be an upper bound; `multiplicity` is then
    the one which belongs to that bound, not a bound itself. `method` says in a few words how it was reached.
    """

    learning_coefficient: Fraction
    multiplicity: int
    exact: bool = True
    method: str = ""

    def __str__(self) -> str:
        relation = "=" if self.exact else "<="
        text = f"λ {relation} {self.learning_coefficient}, m = {self.multiplicity}"
        return f"{text} ({self.method})" if self.method else text

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the learning coefficient is a string such as "3/4"."""
        return {
            "learning_coefficient": str(self.learning_coefficient),
            "multiplicity": self.multiplicity,
            "exact": self.exact,
            "method": self.method,
        }
