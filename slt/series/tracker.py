"""Tracker: the learning coefficient during training, from inside the loop, without disturbing it."""

import logging
import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from samplers.engine import PerSampleLoss
from samplers.errors import InputError
from slt.series.background import Background, Finished
from slt.series.deadline import OutOfTime, estimate_row
from slt.series.folder import RunFolder
from slt.settings import series_remedy, settings_by_name
from slt.trajectory import Trajectory

PER_DECADE = 10  # estimates of the log-spaced schedule
TOLERANCE = 0.01  # of the training time, by which an estimate may exceed the budget before it is given up
FIRST = 0.25  # seconds of budget before the first estimate, of which nobody knows yet how long it takes
log = logging.getLogger("slt")


class Tracker:
    """`tracker(step, model)` in a training loop estimates λ̂ at the steps of its schedule; `tracker.trajectory()` is the
    curve so far.

    `data`, `loss` and the `settings` are those of `slt.estimate_llc`; `remedy` and the default of `max_steps` are those
    of `slt.track`, so that both give the same numbers at the same γ, β and step size. `every`: a number of steps, 'log'
    for about ten steps a decade, or the steps themselves. `run`: a folder that the trajectory is written to after each
    estimate, for `slt report`.

    `budget`: the share of the training time that estimates may take (0.1: a tenth of the time that the loop spends on
    its own work). A step that would exceed it is passed over and counted in `passed_over`; so is one whose estimate
    turns out to exceed it by more than 1% of the training time: it is given up, and the next begins when there is twice
    the time. So the first estimate has to wait until the budget has grown to it.

    `background`: estimate in another process, from a snapshot that is taken before the call returns; the numbers are
    the same. Steps that come due meanwhile wait their turn, their snapshots on disk, none is lost; `trajectory()` and
    `wait()` wait for them. A process that fails is said in one line of the log `slt`, and costs its one estimate.

    The model is copied for each estimate: its weights, gradients, mode and device, the optimizer and all random states
    are as if the tracker were not there; only time passes. γ and β are those given, or chosen at the first estimate,
    and kept.

    Raises InputError for a schedule or settings that cannot be used, and where the first estimate cannot be made (in
    the background: in the log); a later one that cannot (a loss that is not finite) is in the trajectory as 'skipped'.
    """

    def __init__(
        self,
        data: Any,
        every: int | str | Collection[int] = 200,
        *,
        loss: PerSampleLoss | None = None,
        budget: float | None = None,
        run: str | Path | None = None,
        background: bool = False,
        remedy: str | None = "auto",
        **settings: Any,
    ):
        if (
            isinstance(every, bool)
            or (isinstance(every, int) and every < 1)
            or (isinstance(every, str) and every != "log")
        ):
            raise InputError(f"every must be a positive number of steps, 'log', or the steps themselves, got {every!r}")
        if budget is not None and not (budget > 0 and math.isfinite(budget)):
            raise InputError(f"budget must be a positive share of the training time, such as 0.1, got {budget!r}")
        settings |= {"remedy": series_remedy(remedy, settings.get("sampler", "auto"))}
        settings_by_name(settings)  # a typing error is said before the training, not in the middle of it
        self.passed_over = 0
        self.seconds = 0.0
        self._data, self._loss, self._settings = data, loss, settings
        self._every = every if isinstance(every, int | str) else frozenset(every)
        self._budget = budget
        self._folder = None if run is None else RunFolder(run)
        self._rows: dict[int, dict[str, Any]] = {}
        self._seen: set[int] = set()
        self._new: list[dict[str, Any]] = []
        self._started: float | None = None
        self._blocked = 0.0
        self._needed = FIRST
        self._in_background = background
        self._background: Background | None = None

    def __call__(self, step: int, model: nn.Module) -> None:
        """Estimate λ̂ at the model's weights if it is due at this step. A step is never estimated twice."""
        now = time.perf_counter()
        if self._started is None:
            self._started = now
        self._take_finished()
        if step in self._seen or not self._due(step):
            return
        limit = self._limit(now)
        if limit is None:
            self.passed_over += 1
            return
        self._seen.add(step)
        if self._in_background:
            if self._background is None:
                self._background = Background(self._data, self._loss)
            self._background.submit(step, model, self._settings, limit)
        else:
            self._take(self._estimate(step, model, limit))
        self._blocked += time.perf_counter() - now

    def wait(self) -> None:
        """Until the estimates in the background have come in."""
        self._take_finished(wait=True)

    def trajectory(self, *, wait: bool = True) -> Trajectory:
        """What there is so far; with `wait`, the estimates in the background too. Raises InputError before the first
        estimate.
        """
        self._take_finished(wait)
        if not self._rows:
            why = "call tracker(step, model) in the training loop"
            if self.passed_over:
                why = f"the budget had no room at {self.passed_over} steps; raise it, or give draws or target_error"
            raise InputError(f"nothing was tracked yet: {why}")
        return Trajectory.from_rows(self._rows.values())

    def news(self) -> list[dict[str, Any]]:
        """The rows of the trajectory that have come in since the last call, for a logger."""
        self._take_finished()
        new, self._new = self._new, []
        return new

    def _due(self, step: int) -> bool:
        if isinstance(self._every, int):
            return step % self._every == 0
        if isinstance(self._every, frozenset):
            return step in self._every
        if step < 1:
            return step == 0
        nearest = round(PER_DECADE * math.log10(step))
        return step == round(10 ** (nearest / PER_DECADE))

    def _limit(self, now: float) -> float | None:
        """Seconds that an estimate may take from now on; None where the budget has no room for one."""
        if self._budget is None:
            return math.inf
        assert self._started is not None
        training = now - self._started - self._blocked
        waiting = self._background.waiting if self._background else 0
        spent = self.seconds + waiting * self._needed
        if spent + self._needed > self._budget * training:
            return None
        return (self._budget + TOLERANCE) * training - spent

    def _estimate(self, step: int, model: nn.Module, limit: float) -> Finished:
        row, problem, started = None, "", time.perf_counter()
        try:
            row = estimate_row(step, model, self._data, self._loss, self._settings, limit)
        except OutOfTime:
            pass
        except InputError as error:
            if not self._rows:
                raise
            problem = str(error)
        return Finished(step, row, problem, time.perf_counter() - started)

    def _take_finished(self, wait: bool = False) -> None:
        if self._background is not None:
            for outcome in self._background.finished(wait):
                self._take(outcome)

    def _take(self, outcome: Finished) -> None:
        row, step = outcome.row, outcome.step
        self.seconds += outcome.seconds
        if row is None and not outcome.problem:
            self.passed_over += 1
            self._needed = 2 * outcome.seconds
            return
        if row is None:
            row = {"step": step, "status": "skipped", "checkpoint": str(step), "reasons": outcome.problem}
            if self._in_background:
                log.warning("slt: no estimate at step %d: %s", step, outcome.problem)
        else:
            self._settings = {**self._settings, "beta": row["beta"], "gamma": row["gamma"]}
            self._needed = outcome.seconds
        self._rows[step] = row
        self._new.append(row)
        if self._folder is not None:
            self._folder.write_results(Trajectory.from_rows(self._rows.values()))
