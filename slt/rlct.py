"""(λ, m) of an analytic potential, by annealing and, independently, by volumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite, sqrt

import numpy as np
from torch import Tensor

from samplers.analytic import LocalPotential
from samplers.annealing import MAX_LOG_T, ROUNDING, Annealing, Stage
from samplers.errors import InputError
from samplers.splitting import Level, Splitting
from slt.asymptotics import AsymptoticFit, fit_asymptotics, half_height, height
from slt.rlct_estimate import Curve, RLCTEstimate, VolumeEstimate

GAMMA = 25.0
GROUPS = 8
PARTICLES = 4096
TAIL_NATS, TAIL_LENGTH = 25.0, 40.0  # how far past half height the ladder goes: λ (L - L_½) and L - L_½
MIN_STAGES = 8
MAX_BATCHES = 4  # runs along the same ladder, each with all the particles asked for, while m is not settled
MAX_STAGES = 300
MAX_LEVELS = 48  # of halved volume: 33 nats
MIN_ANCESTORS = 4.0  # initial particles of a group with descendants: with fewer, the group is one draw many times over
SETTLED = 0.95  # probability of the best m
MAX_ERROR = 0.02  # of λ
ZERO = 2e-3  # a curve that ends below this has λ = 0

Report = Callable[[str], None]


def estimate_rlct(
    potential: Callable[[Tensor], Tensor],
    center: Tensor,
    *,
    gamma: float = GAMMA,
    particles: int = PARTICLES,
    target_log_t: float | None = None,
    seed: int = 0,
    max_seconds: float | None = None,
    volume: bool = True,
    progress: Report | None = None,
) -> RLCTEstimate:
    """(λ, m) of an analytic K >= 0 with K(center) = 0, jointly, with an error and a verdict.

    Particles are annealed from the localizing Gaussian N(center, I/γ) through as many decades of t as it takes
    (`target_log_t` sets the end instead), and E[tK] = λ - (m-1)/(log t + c) + ... is fitted with m chosen by evidence
    (`slt.asymptotics`). `volume` repeats the estimate from Vol{K < ε}, and the verdict says whether they agree.

    `potential` maps float64 points (N, d) to K (N,) by differentiable torch operations, `center` is (d,). λ is that of
    the deepest singularity within reach of the localizer, a few times 1/√γ: the default reaches about 1 from the
    centre; give a larger `gamma` if there are deeper ones nearby. `particles` are split into 8 independent groups.
    `max_seconds` ends the ladder early; without it the result depends on the seed alone.

    Raises InputError for a potential that cannot be used.
    """
    started = time.monotonic()
    if particles < 8 * GROUPS:
        raise InputError(f"particles must be at least {8 * GROUPS}, got {particles}")
    if target_log_t is not None and not target_log_t <= MAX_LOG_T:
        raise InputError(f"target_log_t must be at most {MAX_LOG_T:g}, the end of float64's range, got {target_log_t}")
    local = LocalPotential(potential, center, gamma)
    size = particles // GROUPS
    say = progress or (lambda message: None)
    deadline = None if max_seconds is None else started + max_seconds * (0.75 if volume else 1.0)
    stages, fit, stopped = _climb(local, size, seed, target_log_t, deadline, say)
    if not stages:
        raise InputError("K is not resolved by float64 around the centre: move the centre nearer to the origin")
    curve = _curve(stages)
    reasons = _sampling_reasons(stages, stopped)
    if fit is None:
        return _without_fit(local, curve, reasons, stopped, size * GROUPS, seed, time.monotonic() - started)
    reasons = _fit_reasons(fit, stages) + reasons
    m = fit.best
    volumes = None
    if volume:
        end = None if max_seconds is None else started + max_seconds
        volumes = _volumes(local, size, seed, curve.log_t[-1], fit, end, say)
        reasons += _volume_reasons(fit, volumes)
    return RLCTEstimate(
        learning_coefficient=fit.given(m)[0],
        multiplicity=m,
        std_error=fit.overall()[1],
        interval=(fit.quantile(0.025), fit.quantile(0.975)),
        multiplicity_probabilities=fit.probabilities,
        status="warning" if reasons else "ok",
        reasons=reasons,
        dimension=local.dimension,
        gamma=gamma,
        particles=size * len(stages[0].mean),
        seed=seed,
        seconds=time.monotonic() - started,
        onset=fit.onset,
        curve=curve,
        volume=volumes,
    )


def _climb(
    local: LocalPotential, size: int, seed: int, target: float | None, deadline: float | None, say: Report
) -> tuple[list[Stage], AsymptoticFit | None, str | None]:
    """Anneal until the tail is long enough, then again until m is settled; the stages, the fit, what cut it short."""
    started = time.monotonic()
    annealing = Annealing(local, groups=GROUPS, size=size, seed=seed)
    stages: list[Stage] = []
    stopped = None
    while stopped is None and (target is None or not stages or stages[-1].log_t < target):
        stage = annealing.advance(limit=MAX_LOG_T if target is None else target)
        stopped = _stopped(stage, len(stages) + 1, deadline)
        if stopped in ("rounding", "ancestors"):
            break
        stages.append(stage)
        say(f"log t = {stage.log_t:.1f}: E[tK] = {stage.mean.mean():.4f}")
        if target is None and len(stages) >= MIN_STAGES and _tail(stages) >= 1:
            break
    if len(stages) < MIN_STAGES or height(_slopes(stages)[1].mean(0)) < ZERO:
        return stages, None, stopped
    fit = fit_asymptotics(*_slopes(stages), local.dimension)
    lap = time.monotonic() - started
    for batch in range(1, MAX_BATCHES):
        if _settled(fit) or (deadline is not None and time.monotonic() + lap > deadline):
            break
        say(f"m = {fit.best} with probability {fit.probabilities[fit.best]:.2f}: {GROUPS * size} more particles")
        annealing = Annealing(local, groups=GROUPS, size=size, seed=seed, first_group=GROUPS * batch)
        stages = [stage.joined(annealing.advance(stage.log_t)) for stage in stages]
        fit = fit_asymptotics(*_slopes(stages), local.dimension)
    return stages, fit, stopped


def _stopped(stage: Stage, count: int, deadline: float | None) -> str | None:
    if stage.rounding > ROUNDING:
        return "rounding"
    if stage.ancestors < MIN_ANCESTORS:
        return "ancestors"
    if stage.log_t >= MAX_LOG_T:
        return "range"
    if count >= MAX_STAGES:
        return "stages"
    return "time" if deadline is not None and time.monotonic() > deadline else None


def _slopes(stages: list[Stage]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s.log_t for s in stages]), np.stack([s.mean for s in stages], 1)


def _tail(stages: list[Stage]) -> float:
    """Length of the tail in units of what is needed."""
    log_t, groups = _slopes(stages)
    curve = groups.mean(0)
    length = log_t[-1] - half_height(log_t, curve)
    return min(length / TAIL_LENGTH, length * max(height(curve), ZERO) / TAIL_NATS)


def _settled(fit: AsymptoticFit) -> bool:
    mean, error = fit.overall()
    return fit.probabilities[fit.best] >= SETTLED and error <= MAX_ERROR * mean


def _curve(stages: list[Stage]) -> Curve:
    log_t, mean = _slopes(stages)
    free_energy = -np.stack([s.log_z for s in stages], 1)
    return Curve(
        log_t,
        mean.mean(0),
        _error(mean),
        np.array([s.fluctuation for s in stages]),
        free_energy.mean(0),
        _error(free_energy),
    )


def _error(groups: np.ndarray) -> np.ndarray:
    return groups.std(0, ddof=1) / sqrt(len(groups))


def _sampling_reasons(stages: list[Stage], stopped: str | None) -> list[str]:
    where = f"the ladder ends at log t = {stages[-1].log_t:.0f}"
    ends = {
        "rounding": f"{where}: beyond it K is not resolved by float64 so far from the origin",
        "ancestors": f"{where}: beyond it hardly any of the first particles have descendants, ask for more particles",
        "range": f"{where}, the end of float64's range",
        "stages": f"{where}, after {MAX_STAGES} stages",
        "time": f"{where}: max_seconds is over",
    }
    reasons = []
    if stopped and (stopped != "rounding" or _tail(stages) < 1):
        reasons.append(ends[stopped])
    return reasons


def _fit_reasons(fit: AsymptoticFit, stages: list[Stage]) -> list[str]:
    reasons = []
    p = fit.probabilities
    if p[fit.best] < SETTLED:
        likely = ", ".join(f"{m} ({q:.2f})" for m, q in sorted(p.items(), key=lambda item: -item[1]) if q >= 0.05)
        reasons.append(f"m is not settled, probabilities: {likely}")
    mean, error = fit.overall()
    if error > MAX_ERROR * mean:
        reasons.append(f"relative error of λ {error / mean:.1%} is above {MAX_ERROR:.0%}: ask for more particles")
    gap, gap_error = _free_energy_gap(stages, fit.onset)
    if abs(gap) > 4 * gap_error + 0.1:
        reasons.append(
            f"F and the integral of E[tK] differ by {gap:.2f} ± {gap_error:.2f} nats: the particles do not mix"
        )
    return reasons


def _free_energy_gap(stages: list[Stage], onset: float) -> tuple[float, float]:
    """F(end) - F(onset) - ∫ E[tK] d log t by the trapezoidal rule, with its standard error over groups."""
    tail = [stage for stage in stages if stage.log_t >= onset]
    log_t, mean = _slopes(tail)
    integral = (0.5 * (mean[:, 1:] + mean[:, :-1]) * np.diff(log_t)).sum(1)
    gap = -(tail[-1].log_z - tail[0].log_z) - integral
    return float(gap.mean()), float(gap.std(ddof=1) / sqrt(len(gap)))


def _volumes(
    local: LocalPotential, size: int, seed: int, log_t: float, fit: AsymptoticFit, deadline: float | None, say: Report
) -> VolumeEstimate | None:
    """Split down to ε = 1/t or to where rounding begins; None if there are too few levels for a fit."""
    started = time.monotonic()
    splitting = Splitting(local, groups=GROUPS, size=max(8, size // 2), seed=seed, first_group=GROUPS * MAX_BATCHES)
    levels: list[Level] = []
    try:
        while len(levels) < MAX_LEVELS and (not levels or -levels[-1].log_epsilon < log_t):
            level = splitting.advance()
            if not level.resolved or (deadline is not None and time.monotonic() > deadline):
                break
            levels.append(level)
            say(f"log ε = {level.log_epsilon:.1f}: log volume = {level.log_volume.mean():.2f}")
    except InputError:
        pass  # K is zero on half of the particles: the levels so far are all there are
    if len(levels) < 9:
        return None
    log_epsilon = np.array([level.log_epsilon for level in levels])
    log_volume = np.stack([level.log_volume for level in levels], 1)
    slope = np.diff(log_volume, axis=1) / np.diff(log_epsilon)
    by_volume = fit_asymptotics(-0.5 * (log_epsilon[1:] + log_epsilon[:-1]), slope, local.dimension)
    value, error = by_volume.given(fit.best)
    if not isfinite(value):
        value, error = by_volume.overall()
    return VolumeEstimate(
        log_epsilon,
        log_volume.mean(0),
        _error(log_volume),
        value,
        error,
        by_volume.probabilities,
        time.monotonic() - started,
    )


def _volume_reasons(fit: AsymptoticFit, volumes: VolumeEstimate | None) -> list[str]:
    if volumes is None:
        return ["the volume of {K < ε} could not be followed far enough for a second opinion"]
    mean, error = fit.given(fit.best)
    gap = abs(volumes.learning_coefficient - mean)
    if gap > 3 * sqrt(error**2 + volumes.std_error**2) + 0.01 * mean:
        return [
            f"annealing and volumes disagree: λ = {mean:.4f} ± {error:.2g} and {volumes.learning_coefficient:.4f} ± "
            f"{volumes.std_error:.2g} given m = {fit.best}"
        ]
    if volumes.multiplicity_probabilities.get(fit.best, 0.0) < 0.01:
        return [f"annealing and volumes disagree: by volumes m = {fit.best} has probability below 0.01"]
    return []


def _without_fit(
    local: LocalPotential,
    curve: Curve,
    reasons: list[str],
    stopped: str | None,
    particles: int,
    seed: int,
    seconds: float,
) -> RLCTEstimate:
    """λ = 0 where K vanishes on a set of positive volume; no number where the ladder is too short."""
    flat = stopped == "range" and height(curve.mean) < ZERO  # to the end of the ladder, which so is no shortcoming
    value = 0.0 if flat else float("nan")
    said = "K vanishes on a set of positive volume around the centre" if flat else "the ladder is too short for a fit"
    return RLCTEstimate(
        learning_coefficient=value,
        multiplicity=1,
        std_error=float(curve.mean_error[-1]) if flat else float("nan"),
        interval=(value, value),
        multiplicity_probabilities={1: 1.0} if flat else {},
        status="warning" if flat else "failed",
        reasons=[said] if flat else [said, *reasons],
        dimension=local.dimension,
        gamma=local.gamma,
        particles=particles,
        seed=seed,
        seconds=seconds,
        onset=float("nan"),
        curve=curve,
    )
