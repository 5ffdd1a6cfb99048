"""`watch`: a folder followed as training writes to it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from samplers.errors import InputError
from slt.series.arrivals import Arrivals
from slt.series.bell import Bell
from slt.series.find import Candidate, Series
from slt.series.folder import RunFolder
from slt.series.tracking import estimate_series, printer
from slt.settings import series_remedy, settings_by_name
from slt.task import Task, load_task
from slt.transitions.detection import Transition

INTERVAL = 2.0  # seconds between two looks at the folder
PATIENCE = 60.0  # seconds without a change before a checkpoint that cannot be read is called corrupt


def watch(
    task: str | Path | Task,
    folder: str | Path,
    run: str | Path,
    *,
    interval: float = INTERVAL,
    patience: float = PATIENCE,
    stop_after: float | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    progress: bool | None = None,
    remedy: str = "auto",
    stop: threading.Event | None = None,
    **settings: Any,
) -> Iterator[Transition]:
    """`slt.track`, again and again, as checkpoints arrive in `folder`; yields each transition once, when it shows.

    The folder is looked at every `interval` seconds. A checkpoint counts from when its files have not changed between
    two looks and it can be read; one that stays unreadable without a change for `patience` seconds is left out, with
    the reason. Nothing is estimated or read twice, and a checkpoint that training removes after that stays in the
    series. A transition is yielded when its change is 5 of its standard errors, and not again when its boundaries move:
    `slt.series.bell.Bell`. After `stop_after` seconds without anything new the iterator ends; None: never. It
    also ends, at the next look, when `stop` was set by a signal's handler or another thread.

    There is no last checkpoint yet to choose γ and β from: they are those given, or recorded in `run`, or chosen from
    the first checkpoint that can be used. Where weights grow during training, that γ is larger, and λ̂ smaller, than the
    last checkpoint's would be: give the γ of a finished run where there is one.

    Stopped at any moment, what is finished is in `run`. Raises InputError as `slt.track` does; but a folder that is not
    there yet, or empty, is waited for.
    """
    for name, value in (("interval", interval), ("patience", patience), ("stop_after", stop_after)):
        if value is not None and not value > 0:
            raise InputError(f"{name} must be a positive number of seconds, got {value!r}")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"{folder}: is a file; give the folder that training writes its checkpoints to")
    settings = {name: value for name, value in settings.items() if value is not None}
    settings |= {"remedy": series_remedy(remedy, settings.get("sampler", "auto"))}
    settings_by_name(settings)
    loaded = task if isinstance(task, Task) else load_task(task)
    results, say = RunFolder(run), _once(printer(progress))

    def estimate(candidates: tuple[Candidate, ...]) -> None:
        series = Series(candidates, ())
        estimate_series(task, loaded, series, run, folder, say, workers=workers, executor=executor, **settings)

    def transitions() -> Iterator[Transition]:
        ended = stop or threading.Event()
        arrivals, bell = Arrivals(loaded, Path(folder), patience), Bell()
        done: tuple[Candidate, ...] = ()
        begun = news = time.monotonic()
        if not Path(folder).is_dir():
            say(f"note: {folder} is not there yet")
        while not ended.is_set():
            over = stop_after is not None and time.monotonic() - news > stop_after
            arrived = arrivals.look(time.monotonic(), give_up=over)
            news = max(news, arrivals.changed)
            if arrived != done:
                done = arrived
                if _has_scale(results, arrived) or _choose_scale(results, estimate, arrived, say, settings):
                    estimate(arrived)
                    yield from bell.listen(results.read_transitions())
                news = time.monotonic()
            if over:
                break
            time.sleep(interval)
        if results.scale() is None:
            waited = time.monotonic() - begun
            raise InputError(f"{folder}: no checkpoint that can be used in {waited:.0f} seconds; name them by step")

    return transitions()


def _has_scale(results: RunFolder, candidates: tuple[Candidate, ...]) -> bool:
    """Whether a scale is recorded, and was chosen from one of these checkpoints."""
    scale = results.scale()
    known = {(candidate.path.name, candidate.weights) for candidate in candidates}
    return scale is not None and (scale.reference, scale.weights) in known


def _choose_scale(
    results: RunFolder,
    estimate: Callable[[tuple[Candidate, ...]], None],
    candidates: tuple[Candidate, ...],
    say: Callable[[str], None],
    settings: dict[str, Any],
) -> bool:
    """Let the first checkpoint that can be used be the reference of the series; False where none can."""
    for candidate in candidates:
        try:
            estimate((candidate,))
        except InputError as error:
            say(f"note: {error}")
            results.forget_scale()
            continue
        if settings.get("gamma") is None:
            name = candidate.path.name
            say(
                f"note: gamma is chosen from the first checkpoint, {name}, for a folder that grows has no last one; "
                "if the weights grow during training, give the gamma of a finished run"
            )
        return True
    return False


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Say each line only the first time: each look at the folder has the same notes."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_once
