"""`track`: a folder of checkpoints in, the trajectory of the learning coefficient out; killed, it goes on."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplers.errors import InputError
from slt.checkpoints import load_checkpoint
from slt.llc.estimate import Estimate
from slt.llc.estimation import estimate_llc
from slt.series.find import Series, find_series
from slt.series.folder import RunFolder
from slt.series.plan import Item, make_plan, task_version
from slt.series.workers import executor_for, outcomes
from slt.settings import choose_sampler, settings_by_name
from slt.task import DataSource, Task, load_task
from slt.trajectory import Trajectory, row

FULL_DATA_STEPS = 3_000  # max_steps of Metropolis-corrected samplers: where λ̂ is near 0, no relative error is met
RESULTS_SECONDS = 5.0  # between writings of the trajectory while the series is running


def track(
    task: str | Path | Task,
    folder: str | Path,
    run: str | Path,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> Trajectory:
    """λ̂ of every checkpoint in `folder`, at one scale, with the results in the folder `run`.

    `task` is a task file or a Task, whose model the checkpoints belong to. β and γ are those given, else chosen once,
    from the last checkpoint that can be read, and recorded in `run`; every later call keeps to them. All checkpoints
    have the same seed, hence the same noise and the same minibatches: differences between neighbours are sharper than
    the values. `settings` are those of `slt.estimate_llc`, with a smaller `max_steps` where the sampler is
    Metropolis-corrected: 3,000.

    Each finished estimate is one file, written whole, whose name holds a digest of weights, data, task and settings.
    A run that was killed goes on where it was: what is finished is not computed again, what was made of anything else
    is not used, and the results have the same bits. What the task file imports is not part of the digest.

    A checkpoint that cannot be read or has no finite loss is left out: in the trajectory its status is 'skipped', with
    the reason. `workers` processes share the work; or any `concurrent.futures.Executor` does, which must be able to
    pickle `task` (a path always can be). `progress`: True, False, or None for lines on standard error if it is a
    terminal.

    Raises InputError where the task, the folder or the settings cannot be used, or no checkpoint can be.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers must be a whole number of at least 1, got {workers!r}")
    settings = {name: value for name, value in settings.items() if value is not None}
    settings_by_name(settings)
    series = find_series(folder)
    loaded = task if isinstance(task, Task) else load_task(task)
    say = printer(progress)
    return estimate_series(task, loaded, series, run, folder, say, workers=workers, executor=executor, **settings)


def estimate_series(
    task: str | Path | Task,
    loaded: Task,
    series: Series,
    run: str | Path,
    folder: str | Path,
    say: Callable[[str], None],
    *,
    workers: int = 1,
    executor: Executor | None = None,
    **settings: Any,
) -> Trajectory:
    """What `track` does with the checkpoints that it found in `folder`; `loaded` is the task, read already.

    Interrupted, it leaves the trajectory of what is finished.
    """
    settings = _with_budget(settings, loaded)
    options = settings_by_name(settings)
    version = task_version(task)
    results = RunFolder(run)
    rows: dict[int, dict[str, Any]] = {}
    with results.locked(), _kept(results, rows):
        plan = make_plan(loaded, version, series.candidates, options, results)
        scale, total = plan.scale, len(plan.items)
        settings = {**settings, "beta": scale.beta, "gamma": scale.gamma}
        about = type(task.model).__name__ if isinstance(task, Task) else str(task)
        planned = [{"step": item.candidate.step, "key": item.key} for item in plan.items]
        about_it = {"task": about, "folder": str(folder), "plan": planned}
        results.record(scale, vars(settings_by_name(settings)), about_it)
        for item in plan.items:
            finished = results.load(item.candidate.step, item.key) if item.key else None
            if item.problem or finished is not None:
                rows[item.candidate.step] = _row(item, finished or item.problem)
        jobs = [
            (item, Job(task, version, item.candidate.path, settings))
            for item in plan.items
            if item.candidate.step not in rows
        ]
        for note in (*series.notes, *plan.notes, *(item.problem for item in plan.items if item.problem)):
            say(f"note: {note}")
        span = f"steps {plan.items[0].candidate.step} to {plan.items[-1].candidate.step}"
        chosen = f"beta = {scale.beta:.4g}, gamma = {scale.gamma:.4g}, from {scale.reference}"
        say(f"{total} checkpoints, {span}, {len(jobs)} to do; {chosen}")
        started, written = time.monotonic(), -math.inf
        _loaded.clear()
        if not isinstance(task, Task):
            _loaded[version] = loaded
        with executor_for(executor, min(workers, len(jobs))) as pool:
            for number, (item, outcome) in enumerate(outcomes(jobs, pool), start=1):
                step = item.candidate.step
                rows[step] = _row(item, outcome)  # first: an interruption leaves no file that is not in the trajectory
                if isinstance(outcome, Estimate):
                    results.save(step, item.key, outcome)
                left = (time.monotonic() - started) / number * (len(jobs) - number)
                say(f"[{total - len(jobs) + number}/{total}] step {step}: {_said(outcome)}, {left:.0f} s left")
                if time.monotonic() - written > RESULTS_SECONDS:
                    results.write_results(Trajectory.from_rows(rows.values()))
                    written = time.monotonic()
        trajectory = Trajectory.from_rows(rows.values())
        if all(status == "skipped" for status in trajectory.status):
            raise InputError(trajectory.reasons[-1])
        results.write_results(trajectory)
        results.write_transitions(trajectory)
    return trajectory


@contextmanager
def _kept(results: RunFolder, rows: dict[int, dict[str, Any]]) -> Iterator[None]:
    """Interrupted, the trajectory has what is finished."""
    try:
        yield
    except BaseException:
        if any(row["status"] != "skipped" for row in rows.values()):
            results.write_results(Trajectory.from_rows(rows.values()))
        raise


@dataclass(frozen=True)
class Job:
    """The estimate of one checkpoint, as a function without arguments that can be sent to another process."""

    task: str | Path | Task
    version: str
    checkpoint: Path
    settings: dict[str, Any]

    def __call__(self) -> Estimate | str:
        """The estimate, or why there is none."""
        task = self.task if isinstance(self.task, Task) else _task(Path(self.task), self.version)
        model = copy.deepcopy(task.model)
        try:
            load_checkpoint(model, self.checkpoint)
            name = str(self.checkpoint)
            return estimate_llc(model, task.data, task.loss, progress=False, checkpoint=name, **self.settings)
        except InputError as error:
            said = str(error)
            return said if str(self.checkpoint) in said else f"{self.checkpoint}: {said}"


_loaded: dict[str, Task] = {}  # by version: in a worker, the one task that it works on


def _task(path: Path, version: str) -> Task:
    if version not in _loaded:
        _loaded.clear()
        _loaded[version] = load_task(path)
    return _loaded[version]


def _with_budget(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    """The settings, with a smaller default budget where few draws go a long way."""
    sampler = settings.get("sampler", "auto")
    if sampler == "auto":
        parameters = [p for p in task.model.parameters() if p.requires_grad] or list(task.model.parameters())
        n, dimension = DataSource(task.data).n, sum(p.numel() for p in parameters)
        sampler = choose_sampler(n, dimension, settings.get("batch_size"))
    corrected = sampler in ("hmc", "mala") and settings.get("max_steps") is None
    return {**settings, "max_steps": FULL_DATA_STEPS} if corrected else settings


def _row(item: Item, outcome: Estimate | str) -> dict[str, Any]:
    step = item.candidate.step
    if isinstance(outcome, Estimate):
        return row(step, outcome)
    return {"step": step, "status": "skipped", "checkpoint": str(item.candidate.path), "reasons": outcome}


def _said(outcome: Estimate | str) -> str:
    if isinstance(outcome, Estimate):
        return f"llc = {outcome.llc:.4g} ± {outcome.std_error:.2g} {outcome.status}"
    return f"left out: {outcome}"


def printer(progress: bool | None) -> Callable[[str], None]:
    """Where lines about the progress go: to standard error, or nowhere."""
    show = sys.stderr.isatty() if progress is None else progress
    return (lambda line: print(line, file=sys.stderr, flush=True)) if show else (lambda line: None)
