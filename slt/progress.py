"""A live progress bar on standard error: the running estimate, its effective sample size, the time left."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from slt.diagnostics import MeanSummary


class Progress:
    """Reports nothing. The base of what `show_progress` gives."""

    def stage(self, name: str) -> None:
        """The run entered a new stage."""

    def update(self, done: float, summary: MeanSummary) -> None:
        """The run is `done` (0 to 1) of the way to its end."""


class _Bar(Progress):
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
        self.bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._task = self.bar.add_task("starting", total=1.0, figures="")
        self._started = time.monotonic()

    def stage(self, name: str) -> None:
        self.bar.update(self._task, description=name)

    def update(self, done: float, summary: MeanSummary) -> None:
        elapsed = time.monotonic() - self._started
        left = elapsed * (1 - done) / max(done, 1e-3)
        figures = f"llc {summary.mean:.4g} ± {summary.std_error:.2g}, ESS {summary.ess:.0f}, {left:.0f} s left"
        self.bar.update(self._task, description="sampling", completed=done, figures=figures)


@contextmanager
def show_progress(show: bool | None) -> Iterator[Progress]:
    """A progress bar if `show`, or if it is None and standard error is a terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield Progress()
        return
    bar = _Bar()
    with bar.bar:
        yield bar
