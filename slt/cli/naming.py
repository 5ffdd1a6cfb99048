"""Errors that name the file at fault."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samplers.errors import InputError


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file that the user has to look at in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
