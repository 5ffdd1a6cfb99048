"""Series of checkpoints: which files and folders of a directory belong to one, in the order of their training steps."""

import re
from dataclasses import dataclass
from pathlib import Path

from samplers.errors import InputError
from slt.checkpoint_formats import FOLDER_NAMES, SUFFIXES, listed
from slt.checkpoints import checkpoint_step

_LABELLED = re.compile(
    r"(?<![a-z])(?:global[-_]?)?(?:steps?|iter(?:ation)?s?|checkpoint|ckpt|epochs?)[-_= ]?[0-9]", re.I
)
_NESTED = ("checkpoints", "ckpts", "checkpoint")


@dataclass(frozen=True)
class Candidate:
    """What a name promises: the checkpoint of a training step; and the digest of its weights, where it is known."""

    step: int
    path: Path
    weights: str = ""


@dataclass(frozen=True)
class Series:
    """Candidates in the order of their steps (two of the same step one after the other), and what was passed over."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


def find_series(folder: str | Path) -> Series:
    """The checkpoints in `folder`: files that end in .safetensors, .pt, .pth, .bin or .ckpt, and folders such as
    `checkpoint-500` that hold one; ordered by the step that `slt.checkpoints.checkpoint_step` reads off the name.

    Names without a step (`last.ckpt`) are passed over, with a note. Nothing is opened here.

    Raises InputError, one line, where the folder does not exist, is a checkpoint itself, or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}; give the folder that holds the checkpoints of a series")
    found, nameless = candidates_in(folder)
    if not found:
        nested = next((folder / name for name in sorted(_NESTED) if (folder / name).is_dir()), None)
        hint = f"; did you mean {nested}?" if nested else "; name them by step, such as step_000100.safetensors"
        holds = f"only files without a step in their names ({listed(nameless)})" if nameless else "no checkpoints"
        raise InputError(f"{folder}: holds {holds}{hint}")
    notes = (f"passed over, for there is no step in the name: {listed(nameless)}",) if nameless else ()
    return Series(found, notes)


def candidates_in(folder: Path) -> tuple[tuple[Candidate, ...], list[str]]:
    """The candidates in a folder, perhaps none, and the names that look like one but have no step.

    Raises InputError where the folder is a checkpoint itself.
    """
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    possible = [entry for entry in entries if _looks_like_one(entry)]
    if any(entry.name in FOLDER_NAMES for entry in possible):
        raise InputError(f"{folder}: is one checkpoint, not a series; use slt estimate, or give the folder above it")
    steps = [(checkpoint_step(entry), entry) for entry in possible]
    found = [Candidate(step, entry) for step, entry in steps if step is not None]
    nameless = [entry.name for step, entry in steps if step is None]
    return tuple(sorted(found, key=lambda one: (one.step, one.path.name))), nameless


def _looks_like_one(entry: Path) -> bool:
    if entry.is_dir():
        return any((entry / name).is_file() for name in FOLDER_NAMES) or bool(_LABELLED.search(entry.name))
    return entry.name.endswith(SUFFIXES)
