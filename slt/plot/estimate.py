"""The picture of an estimate: every chain's draws, and the running mean."""

from pathlib import Path

import numpy as np

from slt.llc.draws import llc_draws, sound_chains
from slt.llc.estimate import Estimate
from slt.plot.canvas import limits, pyplot, running_mean, save_figure


def plot_estimate(estimate: Estimate, path: str | Path) -> None:
    """Two panels: nβ(L - L(w*)) of every chain over the draws, and the running λ̂ with its interval; warm-up shaded."""
    plt = pyplot()
    trace, n_beta = estimate.trace, estimate.n * estimate.beta
    draws = llc_draws(trace, n_beta)
    start, steps = trace.warmup, np.arange(draws.shape[1])
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(9, 6.5), sharex=True, layout="constrained")
    for chain, values in enumerate(draws):
        upper.plot(steps, values, linewidth=0.8, alpha=0.8, label=f"chain {chain}" if len(draws) <= 10 else None)
    if (reach := limits(draws, above=0.3)) is not None:  # room for the legend
        upper.set_ylim(*reach)
    upper.set_ylabel("n·β·(L(w) − L(w*))  [nats]")
    if len(draws) <= 10:
        upper.legend(ncols=4, fontsize="small", loc="upper right")
    sound = sound_chains(trace)
    if len(sound) and len(steps) > start:
        mean = running_mean(draws[sound, start:])
        lower.plot(steps[start:], mean, color="black", linewidth=1.4, label="running λ̂ of all chains")
        settled = mean[len(mean) // 10 :]
        reach = max(4 * estimate.std_error, *np.abs(settled - estimate.llc)) * 1.2
        if np.isfinite(reach) and reach > 0:
            lower.set_ylim(estimate.llc - reach, estimate.llc + reach)
    if np.isfinite(estimate.llc):
        lower.axhspan(*estimate.interval, color="tab:blue", alpha=0.2, label="95% interval")
        lower.axhline(estimate.llc, color="tab:blue", linewidth=1)
    for axes in (upper, lower):
        if start:
            axes.axvspan(0, start, color="gray", alpha=0.25, label="warm-up, left out" if axes is lower else None)
        axes.grid(alpha=0.3)
    if lower.get_legend_handles_labels()[0]:
        lower.legend(fontsize="small", loc="upper right")
    lower.set_xlabel("draw")
    lower.set_ylabel("λ̂")
    lower.set_xlim(0, max(1, draws.shape[1] - 1))
    figure.suptitle(
        f"λ̂ = {estimate.llc:.4g} ± {estimate.std_error:.2g} at n·β = {n_beta:.4g}, γ = {estimate.gamma:.4g}"
        f"   (R-hat {estimate.rhat:.3f}, ESS {estimate.ess:.0f}, {estimate.status})"
    )
    save_figure(figure, path)
