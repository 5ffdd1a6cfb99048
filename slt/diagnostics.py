"""R-hat, effective sample size, Monte Carlo error, warm-up: draws (chain, draw). The one file that imports arviz."""

from dataclasses import dataclass

import arviz as az
import numpy as np

WARMUP_CUTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class MeanSummary:
    """The mean of draws in equilibrium, its Monte Carlo standard error, and how far it can be trusted."""

    mean: float
    std_error: float
    rhat: float
    ess: float


def summarize_mean(draws: np.ndarray, shared_noise: bool = False) -> MeanSummary:
    """Mean of draws (chain, draw) with MCSE, rank-normalized split R-hat and bulk ESS (Vehtari et al. 2021).

    The error is the larger of the one from autocorrelation and the one from the spread of the chains' means, which
    also sees what moves too slowly for the first. Chains that see the same minibatches have noise in common, which
    averaging over chains does not remove: with `shared_noise` that of the mean over chains, taken as one series,
    counts as well.
    A single chain counts as its two halves, which R-hat compares. Draws that never change have error 0 and R-hat 1.
    """
    if draws.shape[1] < 4:
        return MeanSummary(float(draws.mean()), np.nan, np.nan, np.nan)
    if np.ptp(draws) == 0:
        return MeanSummary(float(draws.flat[0]), 0.0, 1.0, float(draws.size))
    std_error = max(_mcse(draws), _between_chains(draws))
    if shared_noise:
        std_error = max(std_error, _mcse(draws.mean(0, keepdims=True)))
    return MeanSummary(float(draws.mean()), std_error, _rhat(draws), bulk_ess(draws))


def _rhat(draws: np.ndarray) -> float:
    half = draws.shape[1] // 2
    parts = draws if len(draws) > 1 else np.stack([draws[0, -2 * half : -half], draws[0, -half:]])
    return float(az.rhat(parts)) if parts.shape[1] >= 4 else np.nan  # ArviZ would say NaN too, and log a warning


def bulk_ess(draws: np.ndarray) -> float:
    """Bulk effective sample size of draws (chain, draw)."""
    return float(az.ess(draws, method="bulk"))


def pareto_k(log_weights: np.ndarray) -> float:
    """Shape of the generalized Pareto tail of importance weights, from their logarithms (Vehtari et al. 2024).

    From ½ on their variance is infinite, and neither an average under them nor its error can be believed. -inf where
    all weights are equal, inf where there are too few.
    """
    if np.ptp(log_weights) == 0:
        return -np.inf
    with np.errstate(all="ignore"):
        return float(az.psislw(log_weights.ravel().copy())[1])


def _between_chains(draws: np.ndarray) -> float:
    chains = len(draws)
    return float(draws.mean(1).std(ddof=1) / chains**0.5) if chains > 1 else 0.0


def _mcse(draws: np.ndarray) -> float:
    return float(az.mcse(draws, method="mean"))


def detect_warmup(draws: np.ndarray) -> int:
    """How many draws at the front of (chain, draw) to leave out: the first cut that leaves (nearly) the most
    effective draws.

    A transient lowers the effective size of all that includes it, so the effective size of the rest is largest where
    it has passed (Chodera 2016), here with the multi-chain bulk ESS. At most half of the draws are cut.
    """
    total = draws.shape[1]
    cuts = sorted({int(fraction * total) for fraction in WARMUP_CUTS})
    cuts = [cut for cut in cuts if total - cut >= 4]
    if not cuts or np.ptp(draws) == 0:
        return 0
    sizes = np.nan_to_num([bulk_ess(draws[:, cut:]) for cut in cuts])
    return cuts[int(np.argmax(sizes >= 0.95 * sizes.max()))]
