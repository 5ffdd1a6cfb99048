"""What an estimate of (λ, m) holds: the numbers, the curves they come from, the verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from samplers.errors import InputError
from slt.llc.estimate import Status
from slt.rlct.asymptotics import AsymptoticFit


@dataclass(frozen=True)
class Curve:
    """What annealing measured at each temperature, all of shape (S,), in nats.

    E[tK] with its standard error, Var(tK), and F = -log ∫ exp(-tK) N(w; center, I/γ) dw with its standard error.
    """

    log_t: np.ndarray
    mean: np.ndarray
    mean_error: np.ndarray
    variance: np.ndarray
    free_energy: np.ndarray
    free_energy_error: np.ndarray


@dataclass(frozen=True)
class VolumeEstimate:
    """(λ, m) from log P(K < ε) under the localizer: levels log ε (J,), log volumes (J,) with standard errors.

    `learning_coefficient` and `std_error` are those at the m that annealing found most probable, so that the two
    can be compared.
    """

    log_epsilon: np.ndarray
    log_volume: np.ndarray
    log_volume_error: np.ndarray
    learning_coefficient: float
    std_error: float
    multiplicity_probabilities: dict[int, float]
    seconds: float


@dataclass(frozen=True)
class RLCTEstimate:
    """Learning coefficient λ and multiplicity m of K at a point, Z(t) ~ C t^-λ (log t)^(m-1).

    `multiplicity` is the most probable m and `learning_coefficient` the posterior mean of λ given that m;
    `std_error` and `interval` (95%) are of λ over all m, so that an unsettled m widens them.
    `multiplicity_probabilities` are posterior probabilities. `status` is 'ok', 'warning' or 'failed', and `reasons`
    say why in words.
    """

    learning_coefficient: float
    multiplicity: int
    std_error: float
    interval: tuple[float, float]
    multiplicity_probabilities: dict[int, float]
    status: Status
    reasons: list[str]
    dimension: int
    gamma: float
    particles: int
    seed: int
    seconds: float
    onset: float
    curve: Curve = field(repr=False)
    volume: VolumeEstimate | None = field(default=None, repr=False)
    fit: AsymptoticFit | None = field(default=None, repr=False)

    def multiplicity_given(self, learning_coefficient: float) -> dict[int, float]:
        """Posterior probabilities of m where λ is known: from theory, or because several points share it.

        A large m is hardly told from its neighbours when λ is to be found too, since a little more of one looks like a
        little less of the other; given λ it often is. Raises InputError where the curve contradicts that λ.
        """
        if not isinstance(learning_coefficient, Real) or not isfinite(learning_coefficient):
            raise InputError(f"λ must be a finite number, got {learning_coefficient!r}")
        found = self.fit.probabilities_given(float(learning_coefficient)) if self.fit is not None else {}
        if not found:
            raise InputError(
                f"λ = {learning_coefficient:g} contradicts the estimate, {self.learning_coefficient:.4f} ± "
                f"{self.std_error:.2g}: m is not to be had from it"
            )
        return found

    def __str__(self) -> str:
        low, high = self.interval
        probabilities = ", ".join(f"{m}: {p:.2f}" for m, p in self.multiplicity_probabilities.items() if p >= 0.01)
        line = (
            f"λ = {self.learning_coefficient:.4f} ± {self.std_error:.2g} (95%: {low:.4f} to {high:.4f}), "
            f"m = {self.multiplicity} (probability of m: {probabilities}) | log t to {self.curve.log_t[-1]:.0f}, "
            f"{len(self.curve.log_t)} stages × {self.particles} particles, gamma = {self.gamma:g}, "
            f"{self.seconds:.1f} s | {self.status}"
        )
        lines = [line, *(f"  {reason}" for reason in self.reasons)]
        if self.volume is not None:
            lines.insert(
                1, f"  by volumes, given m: λ = {self.volume.learning_coefficient:.4f} ± {self.volume.std_error:.2g}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; of the curves, log t, E[tK] and F with their errors."""
        keys = ("learning_coefficient", "multiplicity", "std_error", "status", "reasons", "dimension", "gamma")
        values: dict[str, Any] = {key: getattr(self, key) for key in (*keys, "particles", "seed", "seconds", "onset")}
        values["interval"] = list(self.interval)
        values["multiplicity_probabilities"] = {str(m): p for m, p in self.multiplicity_probabilities.items()}
        values["curve"] = {name: array.tolist() for name, array in vars(self.curve).items()}
        if self.volume is not None:
            v = self.volume
            values["volume"] = {"learning_coefficient": v.learning_coefficient, "std_error": v.std_error}
        return values

    def to_json(self) -> str:
        """One JSON object on one line; numbers that are not finite become null."""
        return json.dumps(_finite(self.to_dict()), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
