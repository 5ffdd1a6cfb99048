"""(λ, m) of an analytic potential, by annealing and, independently, by volumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite, sqrt
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from samplers.analytic import LocalPotential
from samplers.annealing import MAX_LOG_T
from samplers.arguments import positive, whole
from samplers.errors import InputError
from samplers.group_noise import Draws
from samplers.splitting import Level, Splitting
from slt.rlct.annealed_ladder import GROUPS, MAX_BATCHES, ZERO, Climb, Report, climb
from slt.rlct.asymptotics import AsymptoticFit, fit_asymptotics, height
from slt.rlct.estimate import Curve, RLCTEstimate, VolumeEstimate
from slt.rlct.verdict import fit_reasons, ladder_reasons, volume_reasons

GAMMA = 25.0
PARTICLES = 4096
ZERO_TRIALS = 4096  # draws of the localizer among which one with K = 0 is looked for
MAX_LEVELS = 24  # of quartered volume: 33 nats


@torch.inference_mode(False)
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
    (`slt.rlct.asymptotics`). `volume` repeats the estimate from Vol{K < ε}, and the verdict says whether they agree.

    `potential` maps float64 points (N, d) to K (N,) by differentiable torch operations, `center` is (d,). λ is that of
    the deepest singularity within reach of the localizer, a few times 1/√γ: the default reaches about 1 from the
    centre; give a larger `gamma` if there are deeper ones nearby. `particles` are split into 8 independent groups, and
    up to four times as many are used where m is not settled. `max_seconds` ends the ladder early; without it the
    result depends on the seed alone.

    Raises InputError for a potential that cannot be used.
    """
    started = time.monotonic()
    particles, seed = whole(particles, "particles", 8 * GROUPS), whole(seed, "seed")
    max_seconds = None if max_seconds is None else positive(max_seconds, "max_seconds")
    _check(target_log_t, progress)
    local = LocalPotential(potential, center, gamma)
    size = particles // GROUPS
    say = progress or (lambda message: None)
    deadline = None if max_seconds is None else started + max_seconds * (0.75 if volume else 1.0)
    found = climb(local, size, seed, target_log_t, deadline, say)
    if not found.stages:
        raise InputError(
            "float64 does not resolve K around the centre: move the centre nearer to the origin, or compute K without "
            "differences of larger numbers"
        )
    curve, fit = _curve(found), found.fit
    used = size * len(found.stages[0].mean)
    if fit is None:
        return _without_fit(local, curve, found, target_log_t, used, seed, time.monotonic() - started)
    reasons = fit_reasons(found, fit, local.dimension) + ladder_reasons(found, target_log_t)
    m = fit.best
    volumes = None
    if volume:
        end = None if max_seconds is None else started + max_seconds
        volumes = _volumes(local, size, seed, curve.log_t[-1], fit, end, say)
        reasons += volume_reasons(fit, volumes)
    return RLCTEstimate(
        learning_coefficient=fit.given(m)[0],
        multiplicity=m,
        std_error=fit.overall()[1],
        interval=(fit.quantile(0.025), fit.quantile(0.975)),
        multiplicity_probabilities=fit.probabilities,
        status="warning" if reasons else "ok",
        reasons=reasons,
        dimension=local.dimension,
        gamma=local.gamma,
        particles=used,
        seed=seed,
        seconds=time.monotonic() - started,
        onset=fit.onset,
        curve=curve,
        volume=volumes,
        fit=fit,
    )


def _check(target_log_t: float | None, progress: Report | None) -> None:
    if target_log_t is not None and not (isinstance(target_log_t, Real) and abs(target_log_t) <= MAX_LOG_T):
        raise InputError(
            f"target_log_t must be a number of at most {MAX_LOG_T:g}, the end of float64's range, got {target_log_t!r}"
        )
    if progress is not None and not callable(progress):
        raise InputError(f"progress must be a function that takes a line of text, such as print, got {progress!r}")


def _curve(found: Climb) -> Curve:
    log_t, mean = found.slopes
    free_energy = -np.stack([stage.log_z for stage in found.stages], 1)
    return Curve(
        log_t,
        mean.mean(0),
        _error(mean),
        np.array([stage.fluctuation for stage in found.stages]),
        free_energy.mean(0),
        _error(free_energy),
    )


def _error(groups: np.ndarray) -> np.ndarray:
    return groups.std(0, ddof=1) / sqrt(len(groups))


def _volumes(
    local: LocalPotential, size: int, seed: int, log_t: float, fit: AsymptoticFit, deadline: float | None, say: Report
) -> VolumeEstimate | None:
    """Split down to ε = 1/t or to where rounding begins; None if there are too few levels for a fit."""
    started = time.monotonic()
    splitting = Splitting(local, groups=GROUPS, size=max(8, size // 2), seed=seed, first_group=GROUPS * MAX_BATCHES)
    levels: list[Level] = []
    while len(levels) < MAX_LEVELS and (not levels or -levels[-1].log_epsilon < log_t):
        level = splitting.advance()
        if level is None or not level.resolved or (deadline is not None and time.monotonic() > deadline):
            break
        levels.append(level)
        say(f"log ε = {level.log_epsilon:.1f}: log volume = {level.log_volume.mean():.2f}")
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


def _without_fit(
    local: LocalPotential,
    curve: Curve,
    found: Climb,
    target: float | None,
    particles: int,
    seed: int,
    seconds: float,
) -> RLCTEstimate:
    """λ = 0 where K vanishes on a set of positive volume; no number where the ladder is too short."""
    level = found.stopped == "range" and height(curve.mean) < ZERO
    flat = level and bool((local.value(local.draw(Draws(seed, range(1), ZERO_TRIALS))) == 0).any())
    value = 0.0 if flat else float("nan")
    said = "the ladder is too short for a fit"
    if level:
        said = f"K is not felt up to log t = {MAX_LOG_T:g}: multiply it by a large number: λ and m stay"
    if flat:
        said = "K vanishes on a set of positive volume around the centre"
    return RLCTEstimate(
        learning_coefficient=value,
        multiplicity=1,
        std_error=float(curve.mean_error[-1]) if flat else float("nan"),
        interval=(value, value),
        multiplicity_probabilities={1: 1.0} if flat else {},
        status="warning" if flat else "failed",
        reasons=[said] if flat else [said, *ladder_reasons(found, target)],
        dimension=local.dimension,
        gamma=local.gamma,
        particles=particles,
        seed=seed,
        seconds=seconds,
        onset=float("nan"),
        curve=curve,
    )
