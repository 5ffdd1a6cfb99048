"""The heat capacity (nβ)² Var L: a second estimate of λ from the same draws, which needs no L(w*)."""

import numpy as np

from samplers.trace import Trace
from slt.diagnostics import MeanSummary, summarize_mean
from slt.llc.draws import llc_draws, sound_chains
from slt.llc.sensitivity import Sensitivity

CLEAR = 3.0  # standard errors
NOTABLE = 0.1  # of λ̂


def heat_capacity(trace: Trace, n_beta: float, full_data: bool) -> MeanSummary:
    """(nβ)² Var(L) over the draws after warm-up of the chains that stayed finite, with its standard error.

    On the full data it is the mean of (x - x̄)², x = nβ (L - L(w*)). Under minibatches their noise, independent from
    step to step, adds to the variance but not to the autocovariances c_k at lags k > 0, and the variance is what those
    tend to at lag 0: 3c₁ - 3c₂ + c₃, with an error from leaving out one chain at a time.
    """
    x = llc_draws(trace, n_beta)[sound_chains(trace), trace.warmup :]
    if x.size == 0 or x.shape[1] < 8:
        return MeanSummary(np.nan, np.nan, np.nan, 0.0)
    if full_data:
        return summarize_mean((x - x.mean()) ** 2)

    def extrapolated(rows: np.ndarray) -> float:
        y = rows - rows.mean()
        first, second, third = ((y[:, k:] * y[:, :-k]).mean() for k in (1, 2, 3))
        return float(3 * first - 3 * second + third)

    count = len(x)
    if count < 2:
        return MeanSummary(extrapolated(x), np.nan, np.nan, float(count))
    left_out = np.array([extrapolated(np.delete(x, chain, 0)) for chain in range(count)])
    error = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    plain = summarize_mean(x)
    return MeanSummary(extrapolated(x), error, plain.rhat, plain.ess)


def disagreements(mean: MeanSummary, heat: MeanSummary, slopes: Sensitivity | None) -> list[str]:
    """What speaks against λ̂ in the other readings of the same draws, in words.

    Mean minus heat capacity is dλ̂/d log β, and not negative at a minimum: λ̂ grows with β towards a plateau. Nor does
    λ̂ grow with γ there. That the mean is the larger is no fault but a matter of scale, and said there.
    """
    said = []
    excess = heat.mean - mean.mean
    if excess > CLEAR * np.hypot(heat.std_error, mean.std_error) and excess > NOTABLE * abs(mean.mean):
        said.append(
            f"the heat capacity {heat.mean:.3g} ± {heat.std_error:.2g} is above the mean {mean.mean:.3g} ± "
            f"{mean.std_error:.2g}, so llc falls as beta grows: w* is not a local minimum at this scale, or the chains "
            "sit in several modes"
        )
    if slopes is not None:
        slope = slopes.gamma_slope
        if slope.value > CLEAR * slope.std_error and slope.value > NOTABLE:
            said.append(
                f"llc grows with gamma (d log llc / d log gamma = {slope}): chains find lower losses away from w*, "
                "which is not a local minimum at this scale"
            )
    return said
