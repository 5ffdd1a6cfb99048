"""The estimates of some checkpoints as one piece of work, which another process can do."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from samplers.errors import InputError
from samplers.lockstep import Ask, programs_at_once, run_in_lockstep
from slt.checkpoints import load_checkpoint
from slt.llc.estimate import Estimate
from slt.llc.estimation import estimate_asking
from slt.model_loss import data_source, model_loss
from slt.settings import Settings, settings_by_name
from slt.task import Task, load_task

Outcome = Estimate | str  # or why there is none


@dataclass(frozen=True)
class Job:
    """The estimates of one checkpoint or several, as a function without arguments that can be sent to another process.

    The chains of `at_once` of them are rows of one batch, which changes no bit (`samplers.lockstep`).
    """

    task: str | Path | Task
    version: str
    checkpoints: tuple[Path, ...]
    settings: dict[str, Any]
    at_once: int = 1

    def __call__(self) -> list[Outcome]:
        """The estimate of each checkpoint, or why there is none."""
        task = self.task if isinstance(self.task, Task) else _task(Path(self.task), self.version)
        if self.at_once == 1:
            return [self._estimate(None, task, path) for path in self.checkpoints]

        def program(path: Path) -> Callable[[Ask], Outcome]:
            return lambda ask: self._estimate(ask, task, path)

        options = settings_by_name(self.settings)
        source = data_source(task.model, task.data, options)
        shared = model_loss(task.model, source, task.loss, options)
        programs = [program(path) for path in self.checkpoints]
        return [outcome for _, outcome in sorted(run_in_lockstep(shared, programs, self.at_once), key=itemgetter(0))]

    def _estimate(self, ask: Ask | None, task: Task, checkpoint: Path) -> Outcome:
        model = copy.deepcopy(task.model)
        try:
            load_checkpoint(model, checkpoint)
            return estimate_asking(
                ask, model, task.data, task.loss, progress=False, checkpoint=str(checkpoint), **self.settings
            )
        except InputError as error:
            said = str(error)
            return said if str(checkpoint) in said else f"{checkpoint}: {said}"


def checkpoints_at_once(task: Task, options: Settings) -> int:
    """Of how many checkpoints the chains had best be rows of one batch: 1 where that gains nothing, or where a setting
    (time, compilation) asks for an estimate on its own.
    """
    if options.max_seconds is not None or options.evaluation not in ("auto", "vmap"):
        return 1
    try:
        loss = model_loss(task.model, data_source(task.model, task.data, options), task.loss, options)
    except InputError:  # at the weights that the task's model starts from: a checkpoint may do better
        return 1
    return programs_at_once(loss, options.chains)


_loaded: dict[str, Task] = {}  # by version: in a worker, the one task that it works on


def keep_loaded(version: str, task: Task) -> None:
    """Jobs in this process work on this task."""
    _loaded.clear()
    _loaded[version] = task


def _task(path: Path, version: str) -> Task:
    if version not in _loaded:
        keep_loaded(version, load_task(path))
    return _loaded[version]
