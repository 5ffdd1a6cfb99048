"""Pictures of a run. The one file that imports matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np

from samplers.errors import InputError
from slt.estimate import Estimate
from slt.files import written_whole
from slt.llc import llc_draws


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'slt-toolkit[plot]'") from error
    return pyplot


def running_mean(draws: np.ndarray) -> np.ndarray:
    """Mean over all chains of the draws so far, (draw,)."""
    return np.nanmean(draws, axis=0).cumsum() / np.arange(1, draws.shape[1] + 1)


def plot_estimate(estimate: Estimate, path: str | Path) -> None:
    """Two panels: nβ(L - L(w*)) of every chain over the draws, and the running λ̂ with its interval; warm-up shaded."""
    plt = _pyplot()
    trace, n_beta = estimate.trace, estimate.n * estimate.beta
    draws = llc_draws(trace, n_beta)
    start, steps = trace.warmup, np.arange(draws.shape[1])
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(9, 6.5), sharex=True, layout="constrained")
    for chain, values in enumerate(draws):
        upper.plot(steps, values, linewidth=0.8, alpha=0.8, label=f"chain {chain}" if len(draws) <= 10 else None)
    finite = draws[np.isfinite(draws)]
    if finite.size:
        low, high = np.percentile(finite, [0.5, 99.5])
        margin = 0.1 * (high - low) or 1.0
        upper.set_ylim(low - margin, high + 3 * margin)  # room for the legend
    upper.set_ylabel("n·β·(L(w) − L(w*))  [nats]")
    if len(draws) <= 10:
        upper.legend(ncols=4, fontsize="small", loc="upper right")
    mean = running_mean(draws[:, start:])
    lower.plot(steps[start:], mean, color="black", linewidth=1.4, label="running λ̂ of all chains")
    lower.axhspan(*estimate.interval, color="tab:blue", alpha=0.2, label="95% interval")
    lower.axhline(estimate.llc, color="tab:blue", linewidth=1)
    settled = mean[len(mean) // 10 :]
    reach = max(4 * estimate.std_error, *np.abs(settled - estimate.llc)) * 1.2 if len(settled) else 1.0
    if np.isfinite(reach) and reach > 0:
        lower.set_ylim(estimate.llc - reach, estimate.llc + reach)
    for axes in (upper, lower):
        if start:
            axes.axvspan(0, start, color="gray", alpha=0.25, label="warm-up, left out" if axes is lower else None)
        axes.grid(alpha=0.3)
    lower.legend(fontsize="small", loc="upper right")
    lower.set_xlabel("draw")
    lower.set_ylabel("λ̂")
    lower.set_xlim(0, max(1, draws.shape[1] - 1))
    figure.suptitle(
        f"λ̂ = {estimate.llc:.4g} ± {estimate.std_error:.2g} at n·β = {n_beta:.4g}, γ = {estimate.gamma:.4g}"
        f"   (R-hat {estimate.rhat:.3f}, ESS {estimate.ess:.0f}, {estimate.status})"
    )
    with written_whole(path) as partial:
        try:
            figure.savefig(partial, dpi=130, format=Path(path).suffix.lstrip(".").lower() or "png")
        except ValueError as error:
            raise InputError(
                f"{path}: {str(error).splitlines()[0]}; use a name ending in .png, .svg or .pdf"
            ) from error
        finally:
            plt.close(figure)
