"""Arrivals: which checkpoints of a folder that training writes to have been written to the end."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

from samplers.errors import InputError
from slt.checkpoints import load_checkpoint
from slt.series.find import Candidate, candidates_in
from slt.task import Task

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class _Seen:
    """A candidate as it was last seen, since when it has been so, and whether it could be read."""

    candidate: Candidate
    signature: Signature
    since: float
    problem: str = ""

    @property
    def whole(self) -> bool:
        return bool(self.candidate.weights)


class Arrivals:
    """Looks at a folder again and again.

    A checkpoint has arrived when names, sizes and times of its files are as they were at the look before, and it can be
    read; the digest of its weights is then known, and it is not read again for as long as it does not change. One that
    cannot be read is given `patience` seconds without a change before it is taken for a corrupt one. One that had
    arrived and is removed since (training keeps the last few) is still of the series.
    """

    def __init__(self, task: Task, folder: Path, patience: float):
        self._model = copy.deepcopy(task.model)
        self._folder, self._patience = folder, patience
        self._seen: dict[Path, _Seen] = {}
        self.changed = 0.0  # when anything last changed

    def look(self, now: float, give_up: bool = False) -> tuple[Candidate, ...]:
        """All candidates that have arrived by `now` (seconds, on any clock), or are corrupt, in the order of steps.

        `give_up`: no more patience.
        """
        present = candidates_in(self._folder)[0] if self._folder.is_dir() else ()
        for candidate in present:
            self._seen[candidate.path] = self._looked_at(candidate, now)
        for path in self._seen.keys() - {candidate.path for candidate in present}:
            if not self._seen[path].whole:
                del self._seen[path]
        arrived = [
            seen.candidate
            for seen in self._seen.values()
            if seen.whole or (seen.problem and (give_up or now - seen.since >= self._patience))
        ]
        return tuple(sorted(arrived, key=lambda one: (one.step, one.path.name)))

    def _looked_at(self, candidate: Candidate, now: float) -> _Seen:
        signature, before = _signature(candidate.path), self._seen.get(candidate.path)
        if before is None or before.signature != signature:
            self.changed = now
            return _Seen(candidate, signature, now)
        if before.whole or before.problem:
            return before
        try:
            digest = load_checkpoint(self._model, candidate.path).digest
        except InputError as error:
            return replace(before, problem=str(error))
        if _signature(candidate.path) != signature:  # while it was being read
            self.changed = now
            return _Seen(candidate, _signature(candidate.path), now)
        return replace(before, candidate=replace(candidate, weights=digest))


def _signature(path: Path) -> Signature:
    """Name, size and time of change of a file, or of all files in a folder; empty where it is gone."""
    try:
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        return tuple((str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files)
    except OSError:
        return ()
