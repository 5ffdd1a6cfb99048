"""`estimate_llc`: a learning coefficient from a model and its data, with nothing to tune."""

import math
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from samplers.batches import Batches
from samplers.engine import LossFunction, ModuleLoss, PerSampleLoss, Potential
from samplers.errors import InputError
from samplers.gradient import ControlVariate, Plain
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.run import Run
from samplers.sgld import SGLD
from samplers.trace import Trace, concatenate
from samplers.warmup import WarmedUp, warm_up_hmc, warm_up_sgld
from slt.choices import explain
from slt.diagnostics import MeanSummary, detect_warmup
from slt.estimate import Estimate
from slt.llc import llc_draws, llc_from_trace, sound_chains
from slt.losses import default_loss
from slt.minimum import check_minimum
from slt.progress import Progress, show_progress
from slt.scale import sensitivity
from slt.settings import Settings, choose_device, choose_dtype, choose_sampler, default_beta, default_gamma
from slt.task import DataSource
from slt.verdict import MAX_RHAT, MIN_ESS, judge

DEFAULT_BATCH = 256
SGLD_BLOCK, HMC_BLOCK = 500, 25
HOPELESS_ESS, HOPELESS_Z = 400, 6  # a negative llc known this well needs no more draws
MIN_DRAWS = 50  # after warm-up, before a run may stop at its error target


def estimate_llc(
    model: nn.Module,
    data: Any,
    loss: PerSampleLoss | None = None,
    *,
    progress: bool | None = None,
    checkpoint: str | None = None,
    **settings: Any,
) -> Estimate:
    """Local learning coefficient λ̂ = nβ (E[L(w)] - L(w*)) of a trained model (Lau et al. 2023).

    The expectation is over the tempered posterior localized at the model's weights, p(w) ∝ exp(-nβ L(w) - γ/2 |w -
    w*|²), where L is the mean negative log-likelihood per sample in nats, n the number of samples and β = 1/log n
    unless set.

    `data`: tensors (X, Y), a map-style Dataset, or a DataLoader over one. `loss(output, target)` returns one value
    per sample; the default is cross-entropy for integer targets. The model is copied: its weights, mode, device and
    requires_grad stay as they are, and so does the global random state. `settings` are the fields of
    `slt.settings.Settings`; none needs to be set. `progress`: True, False, or None for a bar when standard error is a
    terminal.

    Returns an `Estimate`. A run that went wrong is an Estimate with status 'failed' and its reasons; input that
    cannot be used raises InputError.
    """
    options = _options(settings)
    started = time.monotonic()
    device, dtype = choose_device(options.device, model), choose_dtype(options.dtype, model)
    source = DataSource(data, device=device, dtype=dtype)
    function = ModuleLoss(
        model, loss or default_loss, source, device=device, dtype=dtype, evaluation=options.evaluation
    )
    with show_progress(progress) as report:
        result = _sample(function, function.center, source.n, options, report, started)
    return replace(
        result, checkpoint=checkpoint, evaluation=function.evaluation, dtype=str(dtype).removeprefix("torch.")
    )


def estimate_potential(
    potential: Callable[[Tensor], Tensor],
    center: Tensor,
    n: int,
    *,
    progress: bool | None = None,
    **settings: Any,
) -> Estimate:
    """E[nβ (K(w) - K(w*))] for an analytic potential K in the place of a network's loss, with the same estimator.

    `potential` maps points (C, d) to K (C,); `center` is w* (d,); `n` plays the part of the number of samples.
    """
    options = _options(settings)
    function = Potential(potential, len(center))
    with show_progress(progress) as report:
        result = _sample(function, center, n, options, report, time.monotonic())
    return replace(result, evaluation="analytic", dtype=str(center.dtype).removeprefix("torch."))


def _options(settings: dict[str, Any]) -> Settings:
    known = [field.name for field in fields(Settings)]
    for name in settings:
        if name not in known:
            raise InputError(f"unknown setting {name!r}; known are {', '.join(known)}")
    return Settings(**settings)


def _sample(
    function: LossFunction, center: Tensor, n: int, options: Settings, report: Progress, started: float
) -> Estimate:
    beta = default_beta(n) if options.beta is None else options.beta
    gamma = default_gamma(center) if options.gamma is None else options.gamma
    posterior = LocalPosterior(function, center, n=n, beta=beta, gamma=gamma)
    center_loss = float(function.value(posterior.centers)[0])
    if not math.isfinite(center_loss):
        raise InputError(f"the loss at the given weights is {center_loss}: check the weights and the data")
    report.stage("warm-up")
    minimum = check_minimum(posterior, n)
    name, preconditioner, ready = _warm_up(posterior, n, options)
    full = ready.run.batches.batch_size is None
    trace, summary, stopped = _record(ready, options, n * beta, full, report, started)
    status, reasons = judge(trace, summary, minimum, n * beta, options.target_error, full_data=full, stopped=stopped)
    half = 1.96 * summary.std_error
    return Estimate(
        llc=summary.mean,
        std_error=summary.std_error,
        interval=(summary.mean - half, summary.mean + half),
        rhat=summary.rhat,
        ess=summary.ess,
        status=status,
        reasons=reasons,
        n=n,
        beta=beta,
        gamma=gamma,
        step_size=ready.step_size,
        chains=trace.chains,
        warmup=trace.warmup,
        draws=trace.draws,
        sampler=name,
        seed=options.seed,
        seconds=time.monotonic() - started,
        checkpoint=None,
        dimension=function.dimension,
        center_loss=center_loss,
        batch_size=ready.run.batches.batch_size or n,
        thin=options.thin or 1,
        preconditioner=preconditioner,
        acceptance=_mean_acceptance(trace),
        evaluation="",
        dtype="",
        gradients=ready.gradients + ready.gradients_per_step * (options.thin or 1) * trace.loss.shape[1],
        minimum=minimum,
        sensitivity=sensitivity(trace, n * beta, gamma) if full and len(sound_chains(trace)) else None,
        choices=explain(options, ready, name, preconditioner, trace),
        trace=replace(trace, attributes={"n": n, "beta": beta, "gamma": gamma, "seed": options.seed}),
    )


def _mean_acceptance(trace: Trace) -> float:
    kept = trace.kept("acceptance")
    return float(np.nanmean(kept)) if np.isfinite(kept).any() else math.nan


def _warm_up(posterior: LocalPosterior, n: int, options: Settings) -> tuple[str, str, WarmedUp]:
    """Names of the sampler and the preconditioner, and chains warmed up from draws of the localizing Gaussian."""
    noise = ChainNoise(options.seed, options.chains, posterior.centers.device)
    position = posterior.draw_localizer(options.chains, noise)
    kernel = options.sampler
    if not isinstance(kernel, str):
        batches = Batches(n, None if kernel.full_data else options.batch_size, options.seed)
        run = Run(posterior, kernel, position, noise=noise, batches=batches)
        return (
            type(kernel).__name__.lower(),
            "as composed",
            WarmedUp(run, getattr(kernel, "step_size", math.nan), 0, 1),
        )
    name = choose_sampler(n, posterior.dimension, options.batch_size) if kernel == "auto" else kernel
    if name in ("hmc", "mala"):
        if options.batch_size not in (None, n):
            raise InputError(
                f"sampler {name!r} is Metropolis-corrected and needs the full data: leave batch_size unset"
            )
        preconditioner = "identity" if options.preconditioner == "auto" else options.preconditioner
        ready = warm_up_hmc(
            posterior,
            position,
            noise,
            Batches(n, None, options.seed),
            name=name,
            step_size=options.step_size,
            preconditioner=preconditioner,
        )
        return name, preconditioner, ready
    preconditioner = "diagonal" if options.preconditioner == "auto" else options.preconditioner
    ready = warm_up_sgld(
        posterior,
        position,
        noise,
        Batches(n, options.batch_size or min(n, DEFAULT_BATCH), options.seed),
        kernel=SGLD(1.0, gradient=ControlVariate() if name == "sgld-cv" else Plain()),
        step_size=options.step_size,
        preconditioner=preconditioner,
    )
    return name, preconditioner, ready


def _record(
    ready: WarmedUp, options: Settings, n_beta: float, full: bool, report: Progress, started: float
) -> tuple[Trace, MeanSummary, str | None]:
    """Draws until the error target is met or a budget ends; which budget, if one did."""
    thin = options.thin or 1
    least = HMC_BLOCK if ready.gradients_per_step > 1 else SGLD_BLOCK
    wanted = None if options.draws is None else options.draws + (options.warmup or 0)
    most = max(4, (options.max_steps - ready.gradients) // (ready.gradients_per_step * thin))
    trace: Trace | None = None
    while True:
        done = 0 if trace is None else trace.loss.shape[1]
        block = max(least, done // 4)  # growing, so that looking at the draws stays cheap beside making them
        piece = ready.run.advance(min(block, (wanted or most) - done), thin)
        trace = piece if trace is None else concatenate([trace, piece])
        done = trace.loss.shape[1]
        trace = replace(trace, warmup=_warmup_draws(trace, options, n_beta))
        summary = llc_from_trace(trace, n_beta, shared_noise=not full)
        share = (options.target_error * abs(summary.mean) / summary.std_error) ** 2 if summary.std_error > 0 else 1.0
        report.update(min(1.0, done / wanted if wanted else max(share, done / most)), summary)
        if wanted is not None:
            if done >= wanted:
                return trace, summary, None
        elif trace.draws >= MIN_DRAWS and share >= 1 and summary.rhat <= MAX_RHAT and summary.ess >= MIN_ESS:
            return trace, summary, None
        elif summary.ess >= HOPELESS_ESS and summary.mean < -HOPELESS_Z * summary.std_error:
            return trace, summary, "stopped early: the sign is beyond doubt"
        elif done >= most:
            return trace, summary, f"max_steps = {options.max_steps} reached"
        if options.max_seconds is not None and time.monotonic() - started > options.max_seconds:
            return trace, summary, f"max_seconds = {options.max_seconds:g} reached"
        if not ready.run.alive.any():
            return trace, summary, "every chain is lost"


def _warmup_draws(trace: Trace, options: Settings, n_beta: float) -> int:
    if options.warmup is not None:
        return min(options.warmup, max(0, trace.loss.shape[1] - 4))
    return detect_warmup(llc_draws(trace, n_beta)[sound_chains(trace)]) if len(sound_chains(trace)) else 0
