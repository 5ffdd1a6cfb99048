"""How λ̂ depends on the scale (β, γ) at which it was made: slopes and nearby values from one run, by reweighting."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samplers.trace import Trace
from slt.llc.draws import llc_draws, sound_chains

PLATEAU = 0.1  # |d log λ̂ / d log γ| and |d log λ̂ / d log β| below this: doubling either moves λ̂ by at most 7%
JACKKNIFE_CHAINS = 4  # from here on errors come from leaving out chains, else from leaving out blocks of chains
JACKKNIFE_BLOCKS = 8


@dataclass(frozen=True)
class Slope:
    """A logarithmic derivative of λ̂, or a change of log λ̂, with its standard error."""

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


@dataclass(frozen=True)
class Reweighted:
    """λ̂ at another scale from the draws at this one, with its jackknife error; `change` is that of log λ̂ (NaN where
    either λ̂ is not positive) and `share` the effective share of the draws behind it, (Σw)² / (N Σw²).
    """

    llc: float
    std_error: float
    change: Slope
    share: float


def sensitivity(trace: Trace, n_beta: float, gamma: float) -> Sensitivity:
    """Slopes of λ̂ at the run's own scale, with x = nβ(L - L(w*)), D = |w - w*|² and r = nβ (w - w*)·∇L(w):

        dE[x]/d log β = E[x] - Var(x),     dE[x]/d log γ = -(γ/2) Cov(x, D) = -½ (E[r] - Cov(x, r)),

    derivatives of averages over exp(-nβL - γD/2). The last form, where the trace has r, substitutes w = w* + s v with
    s² ∝ 1/γ, which leaves the localizing Gaussian alone: the directions that the loss does not see then add no noise,
    where D has all of theirs. Errors by the jackknife. Needs full-data losses: the noise of minibatches would be
    counted as heat capacity.
    """
    chains = sound_chains(trace)
    x = llc_draws(trace, n_beta)[chains, trace.warmup :]
    partner, factor, direct = trace.distance[chains, trace.warmup :], gamma, 0.0
    if trace.radial is not None and np.isfinite(trace.radial[chains, trace.warmup :]).all():
        partner, factor, direct = n_beta * trace.radial[chains, trace.warmup :], -1.0, 1.0
    averages = [x, x**2, partner, x * partner]

    def figures(mean: np.ndarray) -> np.ndarray:
        x, squares, partner, product = mean
        variance, covariance = np.maximum(squares - x**2, 0.0), product - x * partner
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([variance, (x - variance) / x, -0.5 * (direct * partner + factor * covariance) / x])

    value, error = jackknife(averages, figures)
    heat, beta, gamma_ = zip(value.tolist(), error.tolist(), strict=True)
    return Sensitivity(heat[0], heat[1], Slope(*beta), Slope(*gamma_))


def reweighted(
    trace: Trace, n_beta: float, gamma: float, beta_factor: float = 1.0, gamma_factor: float = 1.0
) -> Reweighted:
    """λ̂ at (β · beta_factor, γ · gamma_factor) from the draws at (β, γ).

    Weights ∝ exp(-(β'-β) n L - (γ'-γ)/2 |w-w*|²) (importance sampling, self-normalized). The share falls quickly with
    the dimension; below a percent or so the value means nothing. β' needs full-data losses.
    """
    chains = sound_chains(trace)
    x = llc_draws(trace, n_beta)[chains, trace.warmup :]
    log_weight = log_weights(trace, n_beta, gamma, beta_factor, gamma_factor)
    weight = np.exp(log_weight - log_weight.max())

    def figures(mean: np.ndarray) -> np.ndarray:
        own, weights, weighted = mean
        with np.errstate(divide="ignore", invalid="ignore"):
            there = beta_factor * weighted / weights
            return np.array([there, np.log(np.where((there > 0) & (own > 0), there / own, np.nan))])

    value, error = jackknife([x, weight, weight * x], figures)
    return Reweighted(
        float(value[0]), float(error[0]), Slope(float(value[1]), float(error[1])), effective_share(log_weight)
    )


def log_weights(
    trace: Trace, n_beta: float, gamma: float, beta_factor: float = 1.0, gamma_factor: float = 1.0
) -> np.ndarray:
    """log of the density at (β · beta_factor, γ · gamma_factor) over that at (β, γ) up to a constant, at the draws
    after warm-up of the sound chains, (chain, draw).
    """
    chains = sound_chains(trace)
    x = llc_draws(trace, n_beta)[chains, trace.warmup :]
    distance = trace.distance[chains, trace.warmup :]
    return -(beta_factor - 1) * x - 0.5 * gamma * (gamma_factor - 1) * distance


def effective_share(log_weight: np.ndarray) -> float:
    """(Σw)² / (N Σw²) of weights given by their logarithms: 1 where they are equal, 1/N where one has all."""
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.mean() ** 2 / (weight**2).mean())


def jackknife(averages: list[np.ndarray], figures: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`figures` (F,) of the means (K,) of K arrays (chain, draw), and their errors by leaving out one chain at a time.

    With fewer than four chains blocks of them are left out, which must then be longer than the draws remember
    (Quenouille 1956; Tukey 1958). `figures` also takes means (K, U) to (F, U).
    """
    stack = np.stack(averages)
    chains, draws = stack.shape[1:]
    blocks = 1 if chains >= JACKKNIFE_CHAINS else min(draws, -(-JACKKNIFE_BLOCKS // chains))
    units = np.array_split(np.arange(draws), blocks)
    sums = np.stack([stack[:, c, unit].sum(-1) for c in range(chains) for unit in units], axis=-1)  # (K, U)
    sizes = np.array([len(unit) for _ in range(chains) for unit in units])
    total, count = sums.sum(-1), sizes.sum()
    value = figures(total / count)
    if len(sizes) < 2:
        return value, np.full_like(value, np.nan)
    left_out = figures((total[:, None] - sums) / (count - sizes))
    with np.errstate(invalid="ignore"):  # a ratio that is infinite has no error
        spread = ((left_out - left_out.mean(-1, keepdims=True)) ** 2).sum(-1)
    return value, np.sqrt((len(sizes) - 1) / len(sizes) * spread)
