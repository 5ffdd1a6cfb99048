"""The local learning coefficient from a trace."""

from dataclasses import dataclass

import numpy as np

from samplers.trace import Trace
from slt.diagnostics import MeanSummary, summarize_mean


@dataclass(frozen=True)
class FrozenChain:
    """A chain that turned non-finite, and the draw at which it did."""

    chain: int
    draw: int


def llc_draws(trace: Trace, n_beta: float) -> np.ndarray:
    """nβ (L(w) - L(w*)) of every draw (chain, draw), warm-up included, both losses on the same samples."""
    return n_beta * (trace.loss - trace.center_loss)


def frozen_chains(trace: Trace) -> list[FrozenChain]:
    """The chains whose loss turned non-finite, and when."""
    bad = ~np.isfinite(trace.loss)
    return [FrozenChain(int(c), int(bad[c].argmax())) for c in np.flatnonzero(bad.any(1))]


def sound_chains(trace: Trace) -> np.ndarray:
    """Indices of the chains that stayed finite."""
    return np.flatnonzero(np.isfinite(trace.loss).all(1))


def llc_from_trace(trace: Trace, n_beta: float, shared_noise: bool) -> MeanSummary:
    """λ̂ = nβ (E[L(w)] - L(w*)) over the draws after warm-up of the chains that stayed finite (Lau et al. 2023).

    The difference is paired: L(w*) is taken on the very minibatch of each draw, so the noise of the data cancels.
    """
    draws = llc_draws(trace, n_beta)[sound_chains(trace), trace.warmup :]
    if len(draws) == 0:
        return MeanSummary(np.nan, np.nan, np.nan, 0.0)
    return summarize_mean(draws, shared_noise)


def distance_travelled(trace: Trace) -> MeanSummary:
    """|w - w*|² over the draws after warm-up of the chains that stayed finite.

    The noise of minibatches, which can hide from λ̂ that chains hardly move, is not in it.
    """
    distance = trace.distance[sound_chains(trace), trace.warmup :]
    return summarize_mean(distance) if len(distance) else MeanSummary(np.nan, np.nan, np.nan, 0.0)
