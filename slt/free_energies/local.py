"""`free_energy`: the local free energy of a model, from a ladder of temperatures, with nothing to tune."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samplers.arguments import whole
from samplers.engine import LossFunction, PerSampleLoss, Potential
from samplers.errors import InputError
from samplers.ladder_trace import LadderTrace
from samplers.ladder_warmup import WarmLadder, warm_up_ladder
from samplers.posterior import LocalPosterior
from slt.diagnostics import MeanSummary, detect_warmup, summarize_mean
from slt.free_energies.estimate import FreeEnergyEstimate, Terms
from slt.free_energies.full_data import full_data_options, module_loss
from slt.free_energies.methods import (
    Array,
    FreeEnergies,
    excess,
    mbar,
    stepping_stone,
    thermodynamic_integration,
)
from slt.free_energies.temperature_curve import Curve, Plateau, curve_of, find_plateau, regress
from slt.free_energies.verdict import judge_ladder, read_methods, regression_reasons
from slt.llc.verdict import MAX_RHAT, MIN_ESS
from slt.progress import Progress, show_progress
from slt.settings import Settings, default_gamma
from slt.task import DataSource

BLOCK = 50  # sweeps between two looks at the draws, at least
LEAST_BLOCK = 8  # the same where time is up before there is any draw
MIN_DRAWS = 100  # and effective draws below: errors read off shorter runs come out too small
EFFECTIVE_DRAWS = 2 * MIN_ESS
NATS = 0.05  # an error that is always small enough: posterior odds known to 5%


def free_energy(
    model: nn.Module,
    data: Any,
    loss: PerSampleLoss | None = None,
    *,
    multiplicity: int = 1,
    progress: bool | None = None,
    checkpoint: str | None = None,
    **settings: Any,
) -> FreeEnergyEstimate:
    """Local free energy F(β) = -log ∫ exp(-nβ (L(w) - L(w*))) N(w; w*, I/γ) dw of a trained model, in nats.

    Chains at a ladder of temperatures from the localizing Gaussian up to `beta` (1 unless set: the posterior itself)
    exchange states; F comes from them by MBAR (Shirts & Chodera 2008), thermodynamic integration and stepping stone,
    and with it WBIC (Watanabe 2013) and the curve λ̂(β). nβL(w*) + F(β) is the free energy of the region around w*;
    the region of lower free energy holds more of the posterior, see `slt.compare_phases`.

    `data`, `loss` and `settings` are those of `slt.estimate_llc`; `chains` counts independent replicas of the ladder,
    the run stops where the error of F is below `target_error` · |F| or 0.05 nats. `multiplicity` m enters only the
    asymptotic form nβL* + λ log nβ - (m-1) log log nβ.

    Returns a `FreeEnergyEstimate` whose status and reasons say what stands against it. Raises InputError for input
    that cannot be used.
    """
    options = full_data_options(settings)
    started = time.monotonic()
    function = module_loss(model, data, loss, options)
    with show_progress(progress) as report:
        result = _ladder(function, function.center, function.data.n, multiplicity, options, report, started)
    name = str(function.center.dtype).removeprefix("torch.")
    digest = function.data.digest() if isinstance(function.data, DataSource) else ""
    return replace(result, checkpoint=checkpoint, evaluation=function.evaluation, dtype=name, data=digest)


def free_energy_of_potential(
    potential: Callable[[Tensor], Tensor],
    center: Tensor,
    n: int,
    *,
    multiplicity: int = 1,
    progress: bool | None = None,
    **settings: Any,
) -> FreeEnergyEstimate:
    """F(β) = -log ∫ exp(-nβ (K(w) - K(w*))) N(w; w*, I/γ) dw for an analytic potential K, with the same ladder.

    `potential` maps points (C, d) to K (C,); `center` is w* (d,), a tensor or a list, which is
    taken in float64; `n` plays the part of the number of samples.
    """
    options = full_data_options(settings)
    center = center if isinstance(center, Tensor) else torch.as_tensor(center, dtype=torch.float64)
    function = Potential(potential, len(center))
    with show_progress(progress) as report:
        result = _ladder(function, center, n, multiplicity, options, report, time.monotonic())
    return replace(result, evaluation="analytic", dtype=str(center.dtype).removeprefix("torch."))


def _ladder(
    function: LossFunction,
    center: Tensor,
    n: int,
    multiplicity: int,
    options: Settings,
    report: Progress,
    started: float,
) -> FreeEnergyEstimate:
    multiplicity = whole(multiplicity, "multiplicity", 1)
    beta = 1.0 if options.beta is None else options.beta
    gamma = default_gamma(center) if options.gamma is None else options.gamma
    posterior = LocalPosterior(function, center, n=n, beta=beta, gamma=gamma)
    center_loss = float(function.value(posterior.centers)[0])
    if not math.isfinite(center_loss):
        raise InputError(f"the loss at the given weights is {center_loss}: check the weights and the data")
    wbic_beta = 1 / math.log(n) if n >= 3 and 1 / math.log(n) <= beta * (1 + 1e-12) else None
    report.stage("ladder")
    name = "hmc" if options.sampler == "auto" else str(options.sampler)
    ready = warm_up_ladder(
        posterior,
        seed=options.seed,
        replicas=options.chains,
        n_data=n,
        name=name,
        step_size=options.step_size,
        through=() if wbic_beta is None else (wbic_beta,),
        steps=options.thin or 1,
    )
    trace, stopped = _record(ready, options, n, center_loss, report, started)
    v = excess(trace.kept(), center_loss, n)
    answers = [method(v, trace.beta) for method in (mbar, thermodynamic_integration, stepping_stone)]
    readings = read_methods(answers)
    head = readings[0].summary
    curve = curve_of(v, trace.beta, answers[0])
    plateau = find_plateau(curve, v)
    around = curve.beta[-1] if wbic_beta is None else wbic_beta
    regression = regress(curve, v, around, n * center_loss)
    concerns = regression_reasons(regression, curve, around)
    seconds = time.monotonic() - started
    if options.max_seconds is not None and seconds > 1.1 * options.max_seconds and stopped is None:
        concerns.append(f"max_seconds = {options.max_seconds:g} was overrun: the ladder took {seconds:.0f} s to set up")
    status, reasons = judge_ladder(trace, v, readings, _wanted(head.mean, options), stopped, concerns)
    star = None if wbic_beta is None else int(np.abs(curve.beta - wbic_beta).argmin())
    half = 1.96 * readings[0].std_error
    attributes = {"n": n, "beta": beta, "gamma": gamma, "seed": options.seed, "center_loss": center_loss}
    return FreeEnergyEstimate(
        free_energy=head.mean,
        std_error=readings[0].std_error,
        interval=(head.mean - half, head.mean + half),
        rhat=head.rhat,
        ess=head.ess,
        status=status,
        reasons=reasons,
        n=n,
        beta=beta,
        gamma=gamma,
        methods={reading.method: (reading.summary.mean, reading.std_error) for reading in readings},
        llc=float(curve.llc[-1]),
        llc_error=float(curve.llc_error[-1]),
        wbic=None if star is None else n * center_loss + float(curve.llc[star] / curve.beta[star]),
        wbic_error=None if star is None else float(curve.llc_error[star] / curve.beta[star]),
        wbic_beta=wbic_beta,
        wbic_llc=None if star is None else float(curve.llc[star]),
        plateau=plateau,
        regression=regression,
        terms=_terms(n * beta, center_loss, head.mean, multiplicity, curve, plateau, star),
        curve=curve,
        rungs=len(trace.beta),
        chains=trace.replicas,
        warmup=trace.warmup,
        draws=trace.draws,
        rejection=float(trace.rejection.max()),
        round_trips=int(trace.round_trips.sum()),
        sampler=name,
        seed=options.seed,
        seconds=time.monotonic() - started,
        checkpoint=None,
        dimension=function.dimension,
        center_loss=center_loss,
        evaluation="",
        dtype="",
        gradients=ready.gradients + ready.gradients_per_sweep * trace.loss.shape[1],
        step_sizes=trace.step_size.tolist(),
        rejections=trace.rejection.tolist(),
        trace=replace(trace, attributes=attributes),
    )


def _terms(
    n_beta: float,
    center_loss: float,
    value: float,
    multiplicity: int,
    curve: Curve,
    plateau: Plateau | None,
    star: int | None,
) -> Terms:
    log_n, excess_order = math.log(n_beta), multiplicity - 1
    if excess_order and log_n > 0:
        llc = float(curve.llc[-1]) + excess_order / log_n
        source = f"llc at beta = {curve.beta[-1]:.3g} plus (m-1)/log n·beta"
    elif plateau is not None:
        llc, source = plateau.llc, "the plateau"
    else:
        k = len(curve.beta) - 1 if star is None else star
        llc, source = float(curve.llc[k]), f"llc at beta = {curve.beta[k]:.3g}"
    first = llc * log_n
    second = -excess_order * math.log(log_n) if excess_order and log_n > 0 else 0.0
    return Terms(n_beta * center_loss, first, second, value - first - second, llc, multiplicity, source)


def _wanted(value: float, options: Settings) -> float:
    return max(NATS, options.target_error * abs(value))


def _record(
    ready: WarmLadder, options: Settings, n: int, center_loss: float, report: Progress, started: float
) -> tuple[LadderTrace, str | None]:
    """Draws until the error target is met or a budget ends; which budget, if one did."""
    wanted = None if options.draws is None else options.draws + (options.warmup or 0)
    most = max(4, (options.max_steps - ready.gradients) // ready.gradients_per_sweep)
    trace: LadderTrace | None = None
    while True:
        done = 0 if trace is None else trace.loss.shape[1]
        late = options.max_seconds is not None and time.monotonic() - started > options.max_seconds
        block = LEAST_BLOCK if late else max(BLOCK, done // 4)
        piece = ready.exchange.advance(min(block, (wanted or most) - done))
        trace = piece if trace is None else trace.followed_by(piece)
        done = trace.loss.shape[1]
        v = excess(trace.loss, center_loss, n)
        trace = replace(trace, warmup=_warmup_draws(v, trace.beta, options))
        kept = v[:, trace.warmup :]
        summary = _summary(stepping_stone(kept, trace.beta))
        error = _wanted(summary.mean, options)
        share = (error / summary.std_error) ** 2 if summary.std_error > 0 else 1.0
        at_top = summarize_mean(trace.beta[-1] * kept[..., -1])
        report.update(min(1.0, done / wanted if wanted else max(share, done / most)), at_top)
        if wanted is not None:
            if done >= wanted:
                return trace, None
        elif trace.draws >= MIN_DRAWS and share >= 1 and summary.rhat <= MAX_RHAT and summary.ess >= EFFECTIVE_DRAWS:
            return trace, None
        elif done >= most:
            return trace, f"max_steps = {options.max_steps} reached"
        if options.max_seconds is not None and time.monotonic() - started > options.max_seconds:
            return trace, f"max_seconds = {options.max_seconds:g} reached"


def _summary(answer: FreeEnergies) -> MeanSummary:
    return summarize_mean(answer.value[-1] + answer.influence[..., -1])


def _warmup_draws(v: Array, beta: Array, options: Settings) -> int:
    if options.warmup is not None:
        return min(options.warmup, max(0, v.shape[1] - 4))
    return detect_warmup(stepping_stone(v, beta).influence[..., -1])
