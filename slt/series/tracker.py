"""Tracker: the learning coefficient during training, from inside the loop, without disturbing it."""

import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from samplers.engine import PerSampleLoss
from samplers.errors import InputError
from slt.llc.estimation import estimate_llc
from slt.series.folder import RunFolder
from slt.settings import settings_by_name
from slt.trajectory import Trajectory, row

PER_DECADE = 10  # estimates of the log-spaced schedule


class Tracker:
    """`tracker(step, model)` in a training loop estimates λ̂ at the steps of its schedule; `tracker.trajectory()` is the
    curve so far.

    `data` and `loss` are those of `slt.estimate_llc`, and so are the `settings`. `every`: a number of steps, 'log' for
    about ten steps a decade, or the steps themselves. `budget`: the share of the training time that estimates may take
    (0.1: a tenth of the time that the loop spends on its own work); a step that would exceed it is passed over and
    counted in `passed_over`. `run`: a folder that the trajectory is written to after each estimate, for `slt report`.

    The model is copied for each estimate: its weights, gradients, mode and device, the optimizer and all random states
    are as if the tracker were not there; only time passes. γ and β are those given, or chosen at the first estimate,
    and kept.

    Raises InputError for a schedule or settings that cannot be used, and where the first estimate cannot be made; a
    later one that cannot (a loss that is not finite) is in the trajectory as 'skipped'.
    """

    def __init__(
        self,
        data: Any,
        every: int | str | Collection[int] = 200,
        *,
        loss: PerSampleLoss | None = None,
        budget: float | None = None,
        run: str | Path | None = None,
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
        settings_by_name(settings)  # a typing error is said before the training, not in the middle of it
        self.passed_over = 0
        self.seconds = 0.0
        self._data, self._loss, self._settings = data, loss, settings
        self._every = every if isinstance(every, int | str) else frozenset(every)
        self._budget = budget
        self._folder = None if run is None else RunFolder(run)
        self._rows: dict[int, dict[str, Any]] = {}
        self._started: float | None = None
        self._last = 0.0

    def __call__(self, step: int, model: nn.Module) -> None:
        """Estimate λ̂ at the model's weights if it is due at this step. A step is never estimated twice."""
        now = time.perf_counter()
        if self._started is None:
            self._started = now
        if step in self._rows or not self._due(step):
            return
        if self._budget is not None and self._rows:
            training = now - self._started - self.seconds
            if self.seconds + self._last > self._budget * training:
                self.passed_over += 1
                return
        self._rows[step] = self._estimate(step, model)
        if self._folder is not None:
            self._folder.write_results(self.trajectory())
        self._last = time.perf_counter() - now
        self.seconds += self._last

    def trajectory(self) -> Trajectory:
        """What there is so far. Raises InputError before the first estimate."""
        if not self._rows:
            raise InputError("nothing was tracked yet: call tracker(step, model) in the training loop")
        return Trajectory.from_rows(self._rows.values())

    def _due(self, step: int) -> bool:
        if isinstance(self._every, int):
            return step % self._every == 0
        if isinstance(self._every, frozenset):
            return step in self._every
        if step < 1:
            return step == 0
        nearest = round(PER_DECADE * math.log10(step))
        return step == round(10 ** (nearest / PER_DECADE))

    def _estimate(self, step: int, model: nn.Module) -> dict[str, Any]:
        try:
            found = estimate_llc(model, self._data, self._loss, progress=False, checkpoint=str(step), **self._settings)
        except InputError as error:
            if not self._rows:
                raise
            return {"step": step, "status": "skipped", "checkpoint": str(step), "reasons": str(error)}
        self._settings = {**self._settings, "beta": found.beta, "gamma": found.gamma}
        return row(step, found)
