"""Files that are either whole or absent."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samplers.errors import InputError


def check_writable(path: str | Path) -> None:
    """Raise InputError now, rather than after a long run, if `path` cannot be written."""
    parent = Path(path).absolute().parent
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    existing = next(folder for folder in (parent, *parent.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot write into {existing} ({error.strerror}); choose another folder") from error


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved into its place when the block ends well and removed when it does not."""
    check_writable(path)
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
