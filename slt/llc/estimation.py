"""`estimate_llc`: a learning coefficient from a model and its data, with nothing to tune."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from samplers.engine import LossFunction, ModuleLoss, PerSampleLoss, Potential
from samplers.errors import InputError
from samplers.lockstep import Ask
from samplers.posterior import LocalPosterior
from samplers.trace import Trace, concatenate
from samplers.warmup import WarmedUp
from slt.llc.choices import explain
from slt.llc.draws import llc_from_trace, sound_chains
from slt.llc.estimate import Estimate
from slt.llc.heat_capacity import disagreements, heat_capacity
from slt.llc.minimum import check_minimum
from slt.llc.recording import record, record_nuts
from slt.llc.run_file import RunFile
from slt.llc.sensitivity import sensitivity
from slt.llc.soundness import drifted, half_precision, kinks, too_few_data, unlike_data, unresolved
from slt.llc.starting import warm_up
from slt.llc.step_error import LEAST_DRAWS, StepError, corrected, corrected_twice, measure_step_error
from slt.llc.verdict import judge
from slt.model_loss import data_source, model_loss
from slt.progress import Progress, show_progress
from slt.settings import Settings, default_beta, default_gamma, settings_by_name

WARM_UP_SHARE = 0.8  # of max_seconds
MONTE_CARLO_SHARE = 0.9  # of the error target, where the bias of the step has an error too
COMPILE_PAYS = 100_000  # evaluations, each a millisecond faster: what compiling takes, twice over


def estimate_llc(
    model: nn.Module,
    data: Any,
    loss: PerSampleLoss | None = None,
    *,
    progress: bool | None = None,
    checkpoint: str | None = None,
    resume: str | Path | None = None,
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
    terminal. `resume`: a file that holds the state of the run after its warm-up and after every block of draws (20 s
    apart or so); if it is there already, the run goes on from it, bit for bit as if it had never been interrupted.

    Returns an `Estimate`. A run that went wrong is an Estimate with status 'failed' and its reasons; input that
    cannot be used raises InputError.
    """
    return estimate_asking(None, model, data, loss, progress=progress, checkpoint=checkpoint, resume=resume, **settings)


def estimate_asking(
    ask: Ask | None,
    model: nn.Module,
    data: Any,
    loss: PerSampleLoss | None,
    *,
    progress: bool | None = None,
    checkpoint: str | None = None,
    resume: str | Path | None = None,
    **settings: Any,
) -> Estimate:
    """`estimate_llc`, where `ask` answers for the passes of all chains over all the data: see `samplers.lockstep`."""
    options = settings_by_name(settings)
    started = time.monotonic()
    source = data_source(model, data, options)
    function = model_loss(model, source, loss, options)
    if ask is not None:
        function.join(ask)
    dtype = str(function.center.dtype).removeprefix("torch.")
    if resume is not None and options.sampler == "nuts":
        raise InputError("NUTS runs in one piece: leave resume out, or use sampler 'hmc'")
    saved = None if resume is None else RunFile(resume, function, source.digest(), options)
    with show_progress(progress) as report:
        result = _sample(function, function.center, source.n, options, report, started, saved)
    return replace(
        result,
        checkpoint=checkpoint,
        evaluation=function.evaluation,
        dtype=dtype,
        remarks=(*half_precision({p.dtype for p in model.parameters()}, dtype), *result.remarks, *function.remarks),
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
    options = settings_by_name(settings)
    function = Potential(potential, len(center))
    with show_progress(progress) as report:
        result = _sample(function, center, n, options, report, time.monotonic())
    return replace(result, evaluation="analytic", dtype=str(center.dtype).removeprefix("torch."))


def _sample(
    function: LossFunction,
    center: Tensor,
    n: int,
    options: Settings,
    report: Progress,
    started: float,
    saved: RunFile | None = None,
) -> Estimate:
    beta = default_beta(n) if options.beta is None else options.beta
    gamma = default_gamma(center) if options.gamma is None else options.gamma
    posterior = LocalPosterior(function, center, n=n, beta=beta, gamma=gamma)
    center_loss = float(function.value(posterior.centers)[0])
    if not math.isfinite(center_loss):
        raise InputError(f"the loss at the given weights is {center_loss}: check the weights and the data")
    unresolved(center, gamma)
    report.stage("warm-up")
    concerns = unlike_data(function, center_loss) if isinstance(function, ModuleLoss) else []
    minimum, remarks = check_minimum(posterior, n), kinks(posterior)
    found = saved.load(posterior, center_loss) if saved else None

    def over(share: float = WARM_UP_SHARE) -> bool:
        return options.max_seconds is not None and time.monotonic() - started > share * options.max_seconds

    name, preconditioner, ready, trace = found or (*warm_up(posterior, n, options, over), None)

    def save(draws: Trace | None) -> None:
        if saved and not ready.cut_short:
            saved.save(name, preconditioner, ready, draws)

    if found is None:
        save(None)
    full = ready.run.batches.batch_size is None
    if isinstance(function, ModuleLoss) and _compiles(options, ready):
        function.settle(full)
    share, preparation = MONTE_CARLO_SHARE if ready.start else 1.0, ready.gradients
    if name == "nuts" and not ready.cut_short:
        trace, made = record_nuts(posterior, ready, options)
        summary, stopped = llc_from_trace(trace, n * beta, shared_noise=False), None
        if over(1.0):
            concerns.append(f"max_seconds = {options.max_seconds:g} was overrun: NUTS runs in one piece")
        gradients = preparation + made
    else:
        # Going over the draws again at twice the step takes up to a quarter of the time they took.
        ends = partial(over, 0.8 if ready.start else 1.0)
        trace, summary, stopped = record(trace, ready, options, n * beta, full, report, ends, save, share)
        gradients = preparation + ready.gradients_per_step * (options.thin or 1) * trace.loss.shape[1]
    step_error: StepError | None = None
    if ready.start and trace.loss.shape[1] >= LEAST_DRAWS and len(sound_chains(trace)):
        report.stage("step size")
        step_error = measure_step_error(ready.run, ready.start, trace, options.thin or 1, n * beta, options.seed)
        summary = corrected(summary, step_error)
        gradients, preparation = gradients + step_error.gradients, preparation + step_error.gradients
    found_sensitivity = sensitivity(trace, n * beta, gamma) if full and len(sound_chains(trace)) else None
    heat = heat_capacity(trace, n * beta, full)
    if step_error is not None:
        heat = corrected_twice(heat, step_error, summary.mean)
    if options.remedy == "heat-capacity":
        summary = heat
        remarks.append("remedy: llc is the heat capacity (n·beta)² Var L, which needs no L(w*)")
    elif options.remedy:
        remarks.append("remedy: chains are kept in the hyperplane through w* normal to the gradient there")
    else:
        concerns += disagreements(summary, heat, found_sensitivity)
    broken = drifted(center_loss, float(function.value(posterior.centers)[0]))
    if ready.cut_short:
        broken.append(
            f"max_seconds = {options.max_seconds:g} reached during warm-up, {ready.cut_short}: give more time"
        )
    status, reasons = judge(
        trace,
        summary,
        minimum,
        n * beta,
        options.target_error,
        full_data=full,
        stopped=stopped,
        step_error=step_error,
        corrected=ready.run.kernel.full_data,
        remedy=options.remedy,
        concerns=concerns + too_few_data(n, function.dimension, summary.mean),
        broken=broken,
    )
    choices = explain(options, ready, name, preconditioner, trace, stopped)
    if ready.burn_in is not None:
        trace = replace(concatenate([ready.burn_in, trace]), warmup=ready.burn_in_draws + trace.warmup)
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
        gradients=gradients,
        minimum=minimum,
        sensitivity=found_sensitivity,
        step_error=step_error,
        heat=heat.mean,
        heat_error=heat.std_error,
        preparation=preparation,
        remedy=options.remedy,
        remarks=tuple(remarks),
        choices=choices,
        trace=replace(trace, attributes={"n": n, "beta": beta, "gamma": gamma, "seed": options.seed}),
    )


def _mean_acceptance(trace: Trace) -> float:
    kept = trace.kept("acceptance")
    return float(np.nanmean(kept)) if np.isfinite(kept).any() else math.nan


def _compiles(options: Settings, ready: WarmedUp) -> bool:
    """Whether passes go through torch.compile: if asked to, or if the draws asked for are many enough to repay it."""
    steps = 0 if options.draws is None else (options.draws + (options.warmup or 0)) * (options.thin or 1)
    return options.evaluation == "compile" or (
        options.evaluation == "auto" and steps * ready.gradients_per_step >= COMPILE_PAYS
    )
