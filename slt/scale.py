"""How λ̂ depends on the scale (β, γ) at which it was made: slopes and nearby values from one run, by reweighting."""

from dataclasses import dataclass

import numpy as np

from samplers.trace import Trace
from slt.llc import llc_draws, sound_chains

PLATEAU = 0.1  # |d log λ̂ / d log γ| and |d log λ̂ / d log β| below this: doubling either moves λ̂ by at most 7%


@dataclass(frozen=True)
class Slope:
    """A logarithmic derivative of λ̂ with its standard error."""

    value: float
    std_error: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {self.std_error:.2f}"


@dataclass(frozen=True)
class Sensitivity:
    """What a change of scale would do to λ̂, to first order, from the draws of a run on the full data.

    `heat_capacity` is (nβ)² Var(L), a second estimate of λ where λ̂ does not depend on β; `beta_slope` is d log λ̂ /
    d log β and `gamma_slope` d log λ̂ / d log γ. On a plateau both vanish.
    """

    heat_capacity: float
    heat_capacity_error: float
    beta_slope: Slope
    gamma_slope: Slope

    @property
    def plateau(self) -> bool:
        """Whether λ̂ barely depends on the scale around the chosen point, beyond the slopes' errors."""
        return all(abs(s.value) + 2 * s.std_error < PLATEAU for s in (self.beta_slope, self.gamma_slope))


def sensitivity(trace: Trace, n_beta: float, gamma: float) -> Sensitivity:
    """Slopes of λ̂ at the run's own scale, with x = nβ(L - L(w*)) and D = |w - w*|²:

        dE[x]/d log β = E[x] - Var(x),     dE[x]/d log γ = -(γ/2) Cov(x, D),

    derivatives of averages over exp(-nβL - γD/2). Errors from the spread over chains, by leaving out one chain at a
    time. Needs full-data losses: the noise of minibatches would be counted as heat capacity.
    """
    chains = sound_chains(trace)
    x = llc_draws(trace, n_beta)[chains, trace.warmup :]
    distance = trace.distance[chains, trace.warmup :]

    def figures(keep: np.ndarray) -> np.ndarray:
        values, radius = x[keep], distance[keep]
        mean, variance = values.mean(), values.var()
        covariance = (values * radius).mean() - mean * radius.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([variance, (mean - variance) / mean, -0.5 * gamma * covariance / mean])

    count = len(chains)
    everyone = np.arange(count)
    value = figures(everyone)
    if count > 1:
        left_out = np.array([figures(np.delete(everyone, c)) for c in everyone])
        error = np.sqrt((count - 1) / count * ((left_out - left_out.mean(0)) ** 2).sum(0))
    else:
        error = np.full(3, np.nan)
    heat, beta, gamma_ = zip(value.tolist(), error.tolist(), strict=True)
    return Sensitivity(heat[0], heat[1], Slope(*beta), Slope(*gamma_))


def reweighted(
    trace: Trace, n_beta: float, gamma: float, beta_factor: float = 1.0, gamma_factor: float = 1.0
) -> tuple[float, float]:
    """λ̂ at (β · beta_factor, γ · gamma_factor) from the draws at (β, γ), and the effective share of the draws behind
    it.

    Weights ∝ exp(-(β'-β) n L - (γ'-γ)/2 |w-w*|²). The share falls quickly with d; below a percent or so the value
    means nothing.
    """
    chains = sound_chains(trace)
    x = llc_draws(trace, n_beta)[chains, trace.warmup :]
    distance = trace.distance[chains, trace.warmup :]
    log_weight = -(beta_factor - 1) * x - 0.5 * gamma * (gamma_factor - 1) * distance
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return float(beta_factor * (weight * x).sum()), float(1 / (weight**2).sum() / weight.size)
