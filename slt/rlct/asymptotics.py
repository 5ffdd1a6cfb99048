"""(λ, m) from how fast a partition function or a volume falls, over as many decades as there are.

With L = log t the mean energy E[tK] = -d log Z/dL of Z(t) = ∫ exp(-tK) φ, and equally the slope of log Vol{K < ε}
against log ε at L = log 1/ε, is

    y(L) = λ - n x/(x² + (n-1) κ) + a e^(-δL),    n = m - 1,  x = L + c:

Z is e^(-λL) times a polynomial of degree n in L (Watanabe 2009, chapter 4), whose logarithm has this derivative up to
terms of order x^-5, exactly so for n <= 2; and the next pole, at λ + δ, leaves a power of t. Everything else decays
faster, and where it has decayed is not known beforehand: fits from every start are averaged, one nat per point left
out, the price of a free parameter (Jay & Neil 2021, who face the same question with excited states).

The evidence of each m integrates over λ and a in closed form and over c, κ, δ and the start on a grid. Priors are in
the curve's own units: L is counted from where the curve reaches half of its height, and 1/λ is how far apart poles
typically are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import torch

MAX_MULTIPLICITY = 16
PRIOR_DECAY = 0.7  # prior probability of m + 1 over that of m
RELATIVE_FLOOR = 2e-4  # of λ: what the form above neglects is never held to be smaller
_STARTS = 12
_OFFSETS = np.linspace(-2.6, 2.6, 41)  # of c, in prior standard deviations
_SPREADS = np.array([-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0])  # κ in units of 5 + 1/λ²
_RATES = np.exp(np.linspace(log(0.1), log(4.0), 12))  # δ in units of λ
_NEGLIGIBLE = 12.0  # nats
_YOUNG, _CERTAIN = 0.85, 4.0  # rise over the last doubling, in units of that over the one before; standard errors
_AROUND = 6  # points on either side from which a correlation is taken


@dataclass(frozen=True)
class AsymptoticFit:
    """Posterior of (λ, m): a mixture of normals in λ, each of which belongs to one m.

    `onset` is the L at which the fits start, on average, `half` the L at which the curve is at half of its height.
    """

    weight: np.ndarray  # (P,), sums to one
    multiplicity: np.ndarray  # (P,)
    mean: np.ndarray  # (P,) of λ
    variance: np.ndarray  # (P,)
    onset: float
    half: float

    @property
    def probabilities(self) -> dict[int, float]:
        """Posterior probability of each m that has at least a millionth."""
        p = {int(m): float(self.weight[self.multiplicity == m].sum()) for m in np.unique(self.multiplicity)}
        return {m: value for m, value in p.items() if value >= 1e-6}

    @property
    def best(self) -> int:
        """The most probable m."""
        p = self.probabilities
        return max(p, key=p.__getitem__)

    def probabilities_given(self, value: float) -> dict[int, float]:
        """Posterior probability of each m where λ is known: that of (λ, m), at λ = value.

        Empty where λ lies beyond 6 standard deviations of everything the fit has.
        """
        z = (value - self.mean) / np.sqrt(self.variance)
        if np.abs(z).min() > 6:
            return {}
        log_joint = np.log(self.weight) - 0.5 * z**2 - 0.5 * np.log(self.variance)
        joint = np.exp(log_joint - log_joint.max())
        joint /= joint.sum()
        p = {int(m): float(joint[self.multiplicity == m].sum()) for m in np.unique(self.multiplicity)}
        return {m: q for m, q in p.items() if q >= 1e-6}

    def given(self, m: int) -> tuple[float, float]:
        """Mean and standard deviation of λ given m; NaN if m has no weight."""
        chosen = self.multiplicity == m
        return self._moments(chosen) if chosen.any() else (float("nan"), float("nan"))

    def overall(self) -> tuple[float, float]:
        """Mean and standard deviation of λ over all m."""
        return self._moments(np.ones(len(self.weight), dtype=bool))

    def quantile(self, q: float) -> float:
        """The λ below which the posterior has probability q."""
        weight, mean, sd = (torch.from_numpy(a) for a in (self.weight, self.mean, np.sqrt(self.variance)))
        low, high = float((mean - 10 * sd).min()), float((mean + 10 * sd).max())
        for _ in range(80):
            middle = 0.5 * (low + high)
            below = float(weight @ torch.special.ndtr((middle - mean) / sd))
            low, high = (middle, high) if below < q else (low, middle)
        return 0.5 * (low + high)

    def _moments(self, chosen: np.ndarray) -> tuple[float, float]:
        w = self.weight[chosen] / self.weight[chosen].sum()
        mean = float(w @ self.mean[chosen])
        return mean, sqrt(float(w @ (self.variance[chosen] + (self.mean[chosen] - mean) ** 2)))


def half_height(log_t: np.ndarray, curve: np.ndarray) -> float:
    """The L at which the curve first reaches half of its last values' mean."""
    target = 0.5 * height(curve)
    i = int(np.argmax(curve > target))
    return float(log_t[0]) if i == 0 else float(np.interp(target, curve[i - 1 : i + 1], log_t[i - 1 : i + 1]))


def height(curve: np.ndarray) -> float:
    """The mean of the last fifth of the curve."""
    return float(curve[-max(3, len(curve) // 5) :].mean())


def youth(log_t: np.ndarray, groups: np.ndarray) -> float:
    """The last x, counted from half height, at which the curve had risen as much from x/2 on as from x/4 to x/2.

    A logarithm rises less with every doubling of x, a power of t much less. Where it is the other way round another
    part of K has yet to fall: in x²⁴ + y² the curve halts at λ = 1/2, the y's, and creeps up to 13/24 from there,
    which for a while looks like a logarithm.
    """
    x = log_t - half_height(log_t, groups.mean(0))
    beyond = x > 0
    quarter, half = (np.stack([np.interp(share * x[beyond], x, row) for row in groups]) for share in (0.25, 0.5))
    excess = groups[:, beyond] - half - _YOUNG * (half - quarter)
    young = excess.mean(0) > _CERTAIN * excess.std(0, ddof=1) / sqrt(len(groups))
    return float(x[beyond][young].max(initial=0.0))


def fit_asymptotics(
    log_t: np.ndarray, groups: np.ndarray, dimension: int, noise: np.ndarray | float = 0.0
) -> AsymptoticFit:
    """Posterior of (λ, m) from y at log_t (S,), one row for each of G independent groups: (G, S).

    `noise` (S,) is what all groups may be off by together, as a standard deviation. m is at most `dimension`, and at
    most 16. Raises ValueError for fewer than 8 points.
    """
    if len(log_t) < 8:
        raise ValueError(f"{len(log_t)} points are too few for an asymptotic fit")
    curve = groups.mean(0)
    scale = max(height(curve), 1e-3)
    half = half_height(log_t, curve)
    x = log_t - half
    sd, correlations = _noise(groups, RELATIVE_FLOOR * scale)
    whiten = _whitening(np.hypot(sd, noise), correlations)
    first = min(int(np.searchsorted(x, 1.0)), len(x) - 8)
    last = len(x) - max(6, len(x) // 4)
    starts = np.unique(np.linspace(first, max(first, last), _STARTS).round().astype(int))
    parts: list[np.ndarray] = []
    best = -np.inf
    for m in range(1, min(dimension, MAX_MULTIPLICITY) + 1):
        parts_m = _fits_of(m, x, curve, whiten, starts, scale)
        parts += parts_m
        top = max((part[:, 0].max() for part in parts_m), default=-np.inf)
        best = max(best, top)
        if m > 2 and top < best - 2 * _NEGLIGIBLE:
            break  # evidence has one peak in m: the rest is further down
    table = np.concatenate(parts)
    table = table[table[:, 0] > table[:, 0].max() - _NEGLIGIBLE]
    weight = np.exp(table[:, 0] - table[:, 0].max())
    weight /= weight.sum()
    onset = float(weight @ log_t[table[:, 4].astype(int)])
    variance = table[:, 3] + (RELATIVE_FLOOR * scale) ** 2  # more points do not average it out
    return AsymptoticFit(weight, table[:, 1].astype(int), table[:, 2], variance, onset, half)


def _fits_of(
    m: int, x: np.ndarray, curve: np.ndarray, whiten: np.ndarray, starts: np.ndarray, scale: float
) -> list[np.ndarray]:
    """Rows (log weight, m, mean of λ, its variance, start) for one m."""
    shapes, log_prior = _shapes(m - 1, x, scale)
    log_prior = log_prior + (m - 1) * log(PRIOR_DECAY)
    rows = []
    for start in starts:
        kept = x[start:]
        white = whiten[start:, start:]
        usable = np.isfinite(shapes[:, start:]).all(1)
        if not usable.any():
            continue
        y = (curve[start:] + shapes[usable, start:]) @ white.T
        cost = log_prior[usable] - (start - starts[0]) - log(2)
        for rate in (0.0, *_RATES * scale):
            basis = [np.ones(len(kept))]
            prior_sd = [scale + 0.1]
            if rate:
                basis.append(np.exp(-rate * (kept - kept[0])))
                prior_sd.append(0.5 * scale * exp(-0.5 * min(rate * max(kept[0], 0.0), 50.0)))
            evidence, mean, variance = _linear_evidence(white @ np.stack(basis, 1), y, scale, np.array(prior_sd))
            evidence = evidence + cost - (log(len(_RATES)) if rate else 0.0)
            near = evidence > evidence.max() - _NEGLIGIBLE
            n = int(near.sum())
            columns = [evidence[near], np.full(n, m), mean[near], np.full(n, variance), np.full(n, start)]
            rows.append(np.stack(columns, 1))
    return rows


def _shapes(n: int, x: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """n x/(x² + (n-1)κ) on the grid of (c, κ), NaN where it is no tail, and the log prior: (P, S), (P,)."""
    if n == 0:
        return np.zeros((1, len(x))), np.zeros(1)
    # At half height n/c is about λ/2 or less: c is n/λ, give or take. Many confined directions make it negative.
    offset = n / scale + (2 + n / scale) * _OFFSETS
    log_prior = -0.5 * _OFFSETS**2
    log_prior -= np.log(np.exp(log_prior).sum())
    if n == 1:
        spread, log_prior_spread = np.zeros(1), np.zeros(1)
    else:
        spread = (5 + 1 / scale**2) * _SPREADS
        log_prior_spread = -0.5 * ((_SPREADS - 0.5) / 0.7) ** 2
        log_prior_spread = log_prior_spread - np.log(np.exp(log_prior_spread).sum())
    c, kappa = (grid.ravel()[:, None] for grid in np.meshgrid(offset, spread, indexing="ij"))
    shifted = x + c
    denominator = shifted**2 + (n - 1) * kappa
    tail = (shifted > 0) & (denominator > 0)
    shape = np.where(tail, n * shifted / np.where(tail, denominator, 1.0), np.nan)
    shape = np.where(shape < 2.5 * scale, shape, np.nan)
    return shape, np.add.outer(log_prior, log_prior_spread).ravel()


def _linear_evidence(
    design: np.ndarray, y: np.ndarray, center: float, prior_sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Log evidence of y = design·θ + white noise for each row of y, with the posterior of θ_0 = λ.

    θ_0 ~ N(center, sd_0²), the rest ~ N(0, sd²).
    """
    precision = prior_sd**-2.0
    prior_mean = np.zeros(len(prior_sd))
    prior_mean[0] = center
    gram = design.T @ design + np.diag(precision)
    moment = y @ design + prior_mean * precision
    inverse = np.linalg.inv(gram)
    theta = moment @ inverse
    misfit = (y**2).sum(1) + (prior_mean**2 * precision).sum() - (moment * theta).sum(1)
    log_evidence = -0.5 * misfit - 0.5 * np.linalg.slogdet(gram)[1] - np.log(prior_sd).sum()
    return log_evidence, theta[:, 0], float(inverse[0, 0])


def correlation(groups: np.ndarray) -> float:
    """That of a group's deviation from the mean of all (G, S) with its deviation at the point before."""
    z = (groups - groups.mean(0)) / np.sqrt(groups.var(0, ddof=1) + 1e-300)
    norm = sqrt(float((z[:, 1:] ** 2).sum() * (z[:, :-1] ** 2).sum()))
    return float((z[:, 1:] * z[:, :-1]).sum()) / max(norm, 1e-300)


def _noise(groups: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation of the mean of the groups at each point (S,), and the correlation with the next one (S - 1,).

    A handful of groups says little about the variance at one point: it is pooled with that of its neighbours, as
    if they held as many degrees of freedom again. The correlation is that of the points around: it grows down the
    ladder as moves slow down, and a drift of the last points, taken for independent, would pass for a logarithm.
    """
    count, points = groups.shape
    raw = groups.var(0, ddof=1) / count
    log_raw = np.log(raw + 1e-300)
    local = np.empty(points)
    for i in range(points):
        near = slice(max(0, i - 3), i + 4)
        local[i] = min(raw[near].mean(), 2 * exp(float(np.median(log_raw[near]))))
    variance = np.maximum(0.5 * (raw + local), floor**2)
    around = [groups[:, max(0, i - _AROUND) : i + _AROUND + 2] for i in range(points - 1)]
    return np.sqrt(variance), np.clip([correlation(part) for part in around], 0.0, 0.95)


def _whitening(sd: np.ndarray, correlations: np.ndarray) -> np.ndarray:
    """W with W Σ Wᵀ = 1 for the covariance of a first-order autoregression, row s using points from s on."""
    scale = 1 / np.sqrt(1 - correlations**2)
    whiten = np.diag(np.append(scale, 1.0) / sd)
    index = np.arange(len(sd) - 1)
    whiten[index, index + 1] = -correlations * scale / sd[1:]
    return whiten
