"""Annealing through as many decades as (λ, m) needs, and with as many particles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from samplers.analytic import LocalPotential
from samplers.annealing import MAX_LOG_T, ROUNDING, Annealing, Stage
from slt.rlct.asymptotics import AsymptoticFit, fit_asymptotics, half_height, height, youth

GROUPS = 8
TAIL_NATS, TAIL_LENGTH = 25.0, 40.0  # how far past half height the ladder goes: λ (L - L_½) and L - L_½
AGED, AGED_FOR_LOGARITHMS = 1.5, 4.0  # the same length in units of `youth`, and where m may be above 1
EXTENSION = 1.6  # of the tail, once, where m is not settled: more of it says more than more particles do
MIN_STAGES = 8
MAX_STAGES = 300
MAX_BATCHES = 4  # times the particles asked for, while m is not settled
MIN_ANCESTORS = 4.0  # initial particles of a group with descendants: with fewer, the group is one draw many times over
SETTLED = 0.95  # probability of the best m
OPEN = 0.4  # the same, where more particles are not likely to settle anything
MAX_ERROR = 0.02  # of λ
ZERO = 2e-3  # a curve that ends below this has λ = 0

Report = Callable[[str], None]


@dataclass
class Climb:
    """The stages so far, the fit to them, and what ended the ladder short of where it should end.

    `stopped` is 'rounding', 'ancestors', 'range', 'stages', 'time', or None.
    """

    stages: list[Stage] = field(default_factory=list)
    fit: AsymptoticFit | None = None
    stopped: str | None = None

    @property
    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """log t (S,) and E[tK] of each group (G, S)."""
        return np.array([s.log_t for s in self.stages]), np.stack([s.mean for s in self.stages], 1)

    def fitted(self, dimension: int, up_to: float = np.inf) -> AsymptoticFit:
        """The fit to the stages of log t <= up_to."""
        log_t, groups = self.slopes
        kept = log_t <= up_to
        noise = np.array([s.noise for s in self.stages])
        return fit_asymptotics(log_t[kept], groups[:, kept], dimension, noise[kept])

    @property
    def tail(self) -> float:
        """Length of the tail in units of what is needed."""
        return self._tail(1.0)

    @property
    def extended(self) -> bool:
        """Whether the tail is as long as it is to be where m is not settled."""
        return self._tail(EXTENSION) >= 1

    def _tail(self, stretch: float) -> float:
        """Length of the tail over what is needed: by itself, in nats, and aged, more so where m may be above 1."""
        log_t, groups = self.slopes
        curve = groups.mean(0)
        length = log_t[-1] - half_height(log_t, curve)
        logarithm = self.fit is not None and self.fit.probabilities.get(1, 0.0) < SETTLED
        aged = AGED_FOR_LOGARITHMS if logarithm else AGED
        needed = stretch * max(TAIL_LENGTH, TAIL_NATS / max(height(curve), ZERO))
        return float(length / max(needed, aged * youth(log_t, groups)))

    @property
    def settled(self) -> bool:
        """Whether one m has nearly all of the probability, and λ a small enough error."""
        if self.fit is None:
            return False
        mean, error = self.fit.overall()
        return self.fit.probabilities[self.fit.best] >= SETTLED and error <= MAX_ERROR * mean


def climb(
    local: LocalPotential, size: int, seed: int, target: float | None, deadline: float | None, say: Report
) -> Climb:
    """Anneal until the tail is long enough; then, until m is settled, further and with more particles.

    `target` is the log t to end at, if it is not for the tail to tell; `deadline` a time on the monotonic clock.
    """
    started = time.monotonic()
    annealing = Annealing(local, groups=GROUPS, size=size, seed=seed)
    found = Climb()
    while found.stopped is None and not _arrived(found, annealing, target):
        while found.stopped is None and not _arrived(found, annealing, target):
            _ascend(found, annealing, target, deadline, say)
        if len(found.stages) < MIN_STAGES or height(found.slopes[1].mean(0)) < ZERO:
            break
        found.fit = found.fitted(local.dimension)  # if m may be above 1, a young tail has to be longer
    if found.fit is None:
        return found
    if not found.settled and found.stopped is None and target is None:
        while found.stopped is None and not found.extended:
            _ascend(found, annealing, target, deadline, say)
        found.fit = found.fitted(local.dimension)
    lap = time.monotonic() - started
    for batch in range(1, MAX_BATCHES):
        best = found.fit.best
        if found.settled or found.fit.probabilities[best] < OPEN:
            break
        if deadline is not None and time.monotonic() + lap > deadline:
            break
        say(f"m = {best} with probability {found.fit.probabilities[best]:.2f}: {GROUPS * size} more particles")
        annealing = Annealing(local, groups=GROUPS, size=size, seed=seed, first_group=GROUPS * batch)
        found.stages = [stage.joined(annealing.advance(stage.log_t)) for stage in found.stages]
        found.fit = found.fitted(local.dimension)
    return found


def _arrived(found: Climb, annealing: Annealing, target: float | None) -> bool:
    """Whether the ladder is as long as was asked for, or as its tail needs."""
    if target is not None:
        return annealing.log_t >= target
    return len(found.stages) >= MIN_STAGES and found.tail >= 1


def _ascend(found: Climb, annealing: Annealing, target: float | None, deadline: float | None, say: Report) -> None:
    """Add one stage, or what stopped the ladder."""
    stage = annealing.advance(limit=MAX_LOG_T if target is None else target)
    found.stopped = _stopped(stage, len(found.stages) + 1, deadline)
    if found.stopped not in ("rounding", "ancestors"):
        found.stages.append(stage)
        say(f"log t = {stage.log_t:.1f}: E[tK] = {stage.mean.mean():.4f}")


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
