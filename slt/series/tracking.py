"""`track`: a folder of checkpoints in, the trajectory of the learning coefficient out; killed, it goes on."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samplers.arguments import whole
from samplers.errors import InputError
from slt.llc.estimate import Estimate
from slt.series.defaults import on_full_data, series_settings
from slt.series.find import Series, find_series
from slt.series.folder import RunFolder
from slt.series.job import Job, checkpoints_at_once, keep_loaded
from slt.series.plan import Item, make_plan, task_version
from slt.series.workers import executor_for, outcomes
from slt.settings import series_remedy, settings_by_name
from slt.task import Task, load_task
from slt.trajectory import Trajectory, row

PIECE = 3  # batches of checkpoints that are one piece of work: results come in, and are kept, piece by piece
RESULTS_SECONDS = 5.0  # between writings of the trajectory while the series is running


def track(
    task: str | Path | Task,
    folder: str | Path,
    run: str | Path,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: bool | None = None,
    remedy: str | None = "auto",
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

    `remedy`, for checkpoints that are no minimum of the loss, is the same at all of them: see
    `slt.settings.series_remedy`. With a Metropolis-corrected sampler the step size of the reference is where the other
    checkpoints begin, so that their warm-up is short. The chains of small models' checkpoints are rows of one batch; no
    bit depends on it.

    A checkpoint that cannot be read or has no finite loss is left out: in the trajectory its status is 'skipped', with
    the reason. `workers` processes share the work; or any `concurrent.futures.Executor` does, which must be able to
    pickle `task` (a path always can be). `progress`: True, False, or None for lines on standard error if it is a
    terminal.

    Raises InputError where the task, the folder or the settings cannot be used, or no checkpoint can be.
    """
    workers = whole(workers, "workers", 1)
    settings = {name: value for name, value in settings.items() if value is not None}
    settings |= {"remedy": series_remedy(remedy, settings.get("sampler", "auto"))}
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
    full_data = on_full_data(settings, loaded.model, loaded.data)
    settings = series_settings(settings, loaded.model, loaded.data)
    options = settings_by_name(settings)
    version = task_version(task)
    warm = full_data and options.step_size is None and options.initial_step_size is None
    results = RunFolder(run)
    rows: dict[int, dict[str, Any]] = {}
    with results.locked(), _kept(results, rows):
        plan = make_plan(loaded, version, series.candidates, options, results, warm)
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
        missing = [item for item in plan.items if item.candidate.step not in rows]
        for note in (*series.notes, *plan.notes, *(item.problem for item in plan.items if item.problem)):
            say(f"note: {note}")
        span = f"steps {plan.items[0].candidate.step} to {plan.items[-1].candidate.step}"
        chosen = f"beta = {scale.beta:.4g}, gamma = {scale.gamma:.4g}, from {scale.reference}"
        say(f"{total} checkpoints, {span}, {len(missing)} to do; {chosen}")
        started, written = time.monotonic(), -math.inf
        if not isinstance(task, Task):
            keep_loaded(version, loaded)
        at_once = checkpoints_at_once(loaded, settings_by_name(settings)) if len(missing) > 1 else 1
        done = 0

        def work(items: list[Item], settings: dict[str, Any], pool: Executor | None) -> None:
            nonlocal done, written
            size = 1 if at_once == 1 else max(1, min(PIECE * at_once, math.ceil(len(items) / workers)))
            pieces = [items[first : first + size] for first in range(0, len(items), size)]
            jobs = [
                (piece, Job(task, version, tuple(item.candidate.path for item in piece), settings, at_once))
                for piece in pieces
            ]
            for piece, found in outcomes(jobs, pool):
                for item, outcome in zip(piece, found, strict=True):
                    step, done = item.candidate.step, done + 1
                    rows[step] = _row(item, outcome)  # first: interrupted, no file lacks its row
                    if isinstance(outcome, Estimate):
                        results.save(step, item.key, outcome)
                    left = (time.monotonic() - started) / done * (len(missing) - done)
                    say(f"[{total - len(missing) + done}/{total}] step {step}: {_said(outcome)}, {left:.0f} s left")
                if time.monotonic() - written > RESULTS_SECONDS:
                    results.write_results(Trajectory.from_rows(rows.values()))
                    written = time.monotonic()

        with executor_for(executor, min(workers, len(missing))) as pool:
            first = [item for item in missing if item.weights == scale.weights] if warm else []
            work(first, settings, pool)
            known = results.load(plan.reference.candidate.step, plan.reference.key) if warm else None
            # A step that suits one checkpoint's low-rank metric suits no other checkpoint without it.
            usable = known is not None and known.preconditioner != "low-rank"
            carried = {"initial_step_size": known.step_size} if known is not None and usable else {}
            work([item for item in missing if item not in first], {**settings, **carried}, pool)
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
