"""`slt track --watch`: each transition is named as it shows, and a command is told of it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from samplers.errors import InputError
from slt.transitions.detection import Transition

PATIENCE = 60.0  # seconds that a command may take


def split_command(command: str | None) -> list[str] | None:
    """The words of a command, as a shell would split them; it is not run through one.

    Raises InputError where they cannot be split, or the program is not there.
    """
    if command is None:
        return None
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--on-transition: {error} in {command!r}") from error
    if not words or shutil.which(words[0]) is None:
        raise InputError(f"--on-transition: no such program: {words[0] if words else command!r}")
    return words


@contextmanager
def remembered_interrupt() -> Iterator[threading.Event]:
    """Set by Ctrl-C, besides the KeyboardInterrupt: Python drops one that falls into a weak reference's callback."""
    pressed = threading.Event()

    def remember(*_: Any) -> None:
        pressed.set()
        raise KeyboardInterrupt

    def report(dropped: Any) -> None:
        # Objects that it left half made, such as files just opened, complain when they are dropped.
        if dropped.exc_type is not KeyboardInterrupt and not pressed.is_set():
            hook(dropped)

    hook, before = sys.unraisablehook, signal.signal(signal.SIGINT, remember)
    sys.unraisablehook = report
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook


def follow(
    transitions: Iterator[Transition], command: list[str] | None, folder: Path, run: Path, pressed: threading.Event
) -> None:
    """Name each transition, and run the command for it, until they end or Ctrl-C is pressed."""
    try:
        for transition in transitions:
            typer.echo(f"transition: {transition}")
            if command is not None:
                _tell(command, transition, folder, run)
    except KeyboardInterrupt:
        pressed.set()
    if pressed.is_set():
        typer.echo("stopped; what is finished is kept", err=True)


def _tell(command: list[str], transition: Transition, folder: Path, run: Path) -> None:
    """Run the command with the transition as JSON on standard input. If it fails, that is said, and no more."""
    environment = {**os.environ, "SLT_FOLDER": str(folder), "SLT_RUN": str(run)}
    text = json.dumps(transition.to_dict(), ensure_ascii=False)
    try:
        subprocess.run(command, input=text.encode(), env=environment, check=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error).splitlines()[0]
        typer.echo(f"slt: --on-transition failed: {said}", err=True)
