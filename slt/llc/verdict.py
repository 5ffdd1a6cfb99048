"""The verdict on a run: what is wrong with it, in words, and whether the number can be used."""

from collections.abc import Sequence

import numpy as np

from samplers.trace import Trace
from samplers.tuning import STABILITY
from slt.diagnostics import MeanSummary
from slt.llc.draws import distance_travelled, frozen_chains, llc_draws, sound_chains
from slt.llc.estimate import Status
from slt.llc.minimum import MinimumCheck
from slt.llc.step_error import LEAST_DRAWS, StepError

MAX_RHAT = 1.05
HOPELESS_RHAT = 1.2  # chains that have not met at all
MIN_ESS = 100.0
MIN_DISTANCE_ESS = 2.0  # effective draws of |w - w*|² per chain, under minibatches
STUCK_RHAT = 1.5  # of |w - w*|²: chains that are still where they started
BELOW_CENTER_NATS = 1.0  # nβ (L(w*) - L(w)) above this, in a share of the draws, is no accident of rounding
BELOW_CENTER_SHARE = 0.01
STIFF = 1.0  # ε times curvature: the direction is a quarter too wide
HOPELESS_SHIFT = 0.5  # share of λ̂ that a step size may make up before the rest is no longer known
REMEDY = "remedy='gradient-normal' or 'heat-capacity'"
STUCK_ACCEPTANCE = 0.005  # mean over a chain's draws
TOLERATED_SHIFT = 0.05  # share of λ̂ by which a gradient at w* may shift it


def judge(
    trace: Trace,
    summary: MeanSummary,
    minimum: MinimumCheck,
    n_beta: float,
    target_error: float,
    *,
    full_data: bool,
    stopped: str | None,
    step_error: StepError | None = None,
    corrected: bool = True,
    remedy: str | None = None,
    concerns: Sequence[str] = (),
    broken: Sequence[str] = (),
) -> tuple[Status, list[str]]:
    """Status and reasons. 'failed': there is no usable number; 'warning': there is one, with what stands against it.

    `stopped` names the budget that ended the run before the error target was met, if one did. `corrected` kernels
    have no bias; that of the others is in `step_error`, if it was measured. `remedy` is what was done about a w* that
    is not a minimum. `concerns` and `broken` are further reasons, for 'warning' and for 'failed'.
    """
    failed, warnings = list(broken), list(concerns)
    frozen = frozen_chains(trace)
    if len(frozen) == trace.chains:
        first = min(chain.draw for chain in frozen)
        return "failed", [
            f"every chain turned non-finite, the first at draw {first}: use a smaller step_size or a larger gamma"
        ]
    for chain in frozen:
        warnings.append(
            f"chain {chain.chain} turned non-finite at draw {chain.draw} and is left out: use a smaller step_size"
        )
    draws = llc_draws(trace, n_beta)[sound_chains(trace), trace.warmup :]
    if trace.chains - len(frozen) == 1:
        warnings.append("a single chain cannot show disagreement between chains: use at least 4 chains")
    if not np.isfinite(summary.std_error):
        failed.append(f"{draws.shape[1]} draws after warm-up are too few for an error: ask for more draws")
    else:
        unstable, biased = ([], []) if corrected else _step_reasons(summary, step_error, target_error)
        failed += unstable
        warnings += biased
        if not full_data:
            still, slow = _distance_reasons(trace)
            failed += still
            warnings += slow
        failed += _stuck_reasons(trace)
        if remedy != "heat-capacity":  # which holds nothing against L(w*)
            failed += _center_reasons(draws, summary, full_data)
            if remedy is None and not failed:
                warnings += _gradient_reasons(summary, minimum)
        cause = f" ({stopped})" if stopped else ""
        if summary.rhat > MAX_RHAT:
            parts = draws if len(draws) > 1 else np.array_split(draws[0], 2)
            who = "chains disagree" if len(draws) > 1 else "two halves of the chain disagree"
            means = [part.mean() for part in parts]
            (failed if summary.rhat > HOPELESS_RHAT else warnings).append(
                f"the {who}: R-hat {summary.rhat:.3f} > {MAX_RHAT}, means from {min(means):.4g} to {max(means):.4g}: "
                f"ask for more draws{cause}"
            )
        if summary.ess < MIN_ESS:
            warnings.append(
                f"too few effective draws: ESS {summary.ess:.0f} < {MIN_ESS:.0f}: ask for more draws{cause}"
            )
        if summary.std_error > target_error * abs(summary.mean):
            relative = summary.std_error / abs(summary.mean) if summary.mean else np.inf
            warnings.append(f"relative error {relative:.1%} is above the target of {target_error:.1%}{cause}")
    status: Status = "failed" if failed else "warning" if warnings else "ok"
    return status, failed + warnings


def _step_reasons(summary: MeanSummary, found: StepError | None, target_error: float) -> tuple[list[str], list[str]]:
    """What makes the number unusable, and what makes it doubtful, in a step without rejection."""
    remedy = "give a smaller step_size or a larger gamma, or sampler='hmc'"
    if found is None:
        return [], [f"the bias of the step size was not measured: it takes extrapolate=True and {LEAST_DRAWS} draws"]
    failed: list[str] = []
    warnings: list[str] = []
    if found.lost:
        warnings.append(
            f"{found.lost} of the chains at twice the step size turned non-finite, so it is near the limit "
            f"of stability: {remedy}"
        )
    if found.stiffness > STIFF:
        said = (
            f"step_size times the curvature where the chains ended is {found.stiffness:.2g}, with {STABILITY:g} the "
            f"limit of stability: they met curvature far above that for which the step was chosen: {remedy}"
        )
        (failed if found.stiffness > STABILITY else warnings).append(said)
    share = found.relative_to(summary.mean)
    if share > HOPELESS_SHIFT:
        failed.append(f"the step size shifts llc by {share:.0%}, as chains at twice the step show: {remedy}")
    elif found.residual > 0.5 * target_error * abs(summary.mean):
        warnings.append(f"the step size shifts llc by {share:.0%}, too much to be taken out reliably: {remedy}")
    return failed, warnings


def _distance_reasons(trace: Trace) -> tuple[list[str], list[str]]:
    """Signs that the chains are not yet where the posterior is, which the noise of minibatches hides from λ̂."""
    found = distance_travelled(trace)
    if found.ess >= MIN_DISTANCE_ESS * len(sound_chains(trace)) or np.ptp(trace.kept("distance")) == 0:
        return [], []
    stuck = found.rhat > STUCK_RHAT
    said = (
        f"the chains {'are still near where they started' if stuck else 'move slowly'}: |w - w*|² has an effective "
        f"sample size of {found.ess:.0f} and R-hat {found.rhat:.2f}: ask for more draws, or a larger gamma, which lets "
        "steps be longer"
    )
    return ([said], []) if stuck else ([], [said])


def _stuck_reasons(trace: Trace) -> list[str]:
    """Chains that hardly moved, and losses too close to each other to be told apart."""
    sound = sound_chains(trace)
    acceptance = trace.kept("acceptance")[sound]
    # On a constraint there may be nowhere to go: what counts is then that moves were accepted.
    corrected = bool(np.isfinite(acceptance).all())
    still = acceptance.mean(1) < STUCK_ACCEPTANCE if corrected else np.ptp(trace.kept("distance")[sound], axis=1) == 0
    if still.any():
        names = "every chain" if still.all() else f"chain {', '.join(str(chain) for chain in sound[still])}"
        return [f"stuck: {names} did not move, refused at every step: use a smaller step_size or a larger gamma"]
    if np.ptp(trace.kept("loss")[sound]) == 0 and trace.radial is not None and trace.radial[sound].any():
        return ["the loss is the same number at every draw, though its gradient is not zero: its differences are below "
                "its rounding: use dtype='float64' or a smaller gamma"]  # fmt: skip
    return []


def _gradient_reasons(summary: MeanSummary, minimum: MinimumCheck) -> list[str]:
    """Signs in the gradient and the curvature that w* is not a local minimum."""
    remedy = f"w* is not a local minimum: train further, use a larger gamma, or {REMEDY}"
    norm = f"|gradient| at w* is {minimum.gradient_norm:.2g} (the data's sampling noise: {minimum.noise_norm:.2g})"
    if minimum.saddle:
        return [f"saddle: {norm} and the localized posterior curves downwards there: {remedy}"]
    if abs(minimum.shift) > max(2 * summary.std_error, TOLERATED_SHIFT * abs(summary.mean)):
        return [f"{norm} and lowers llc by about {-minimum.shift:.2g}: {remedy}"]
    return []


def _center_reasons(draws: np.ndarray, summary: MeanSummary, full_data: bool) -> list[str]:
    """Signs that w* is not a local minimum at this scale."""
    remedy = f"w* is not a local minimum of the loss at this scale: train further, use a larger gamma, or {REMEDY}"
    if summary.mean < -2 * summary.std_error and summary.std_error > 0:
        return [f"llc is negative beyond its error, so the chains found losses below L(w*): {remedy}"]
    below = float((draws < -BELOW_CENTER_NATS).mean()) if full_data else 0.0
    if below > BELOW_CENTER_SHARE:
        return [
            f"{below:.0%} of the draws have a loss more than {BELOW_CENTER_NATS:g} nat below n·beta·L(w*): {remedy}"
        ]
    return []
