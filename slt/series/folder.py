"""The folder of a series of estimates: one file for each finished checkpoint, the scale they share, the results."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samplers.errors import InputError
from slt.files import written_whole
from slt.llc.estimate import Estimate
from slt.records import from_record
from slt.trajectory import Trajectory
from slt.transitions.detection import LEAST, Transition, find_transitions

FORMAT = "slt-series-1"


@dataclass(frozen=True)
class Scale:
    """The one γ and β of a series, and what they were chosen from: n samples, and the reference checkpoint."""

    n: int
    beta: float
    gamma: float
    reference: str
    weights: str
    data: str


class RunFolder:
    """`RUN`: series.json (the scale and the settings), estimates/ (one netCDF file for each finished checkpoint, whole
    or absent, its name ending in the key of all it was made of), trajectory.csv and .nc, transitions.json.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; give a folder for the results")
        try:
            self._estimates.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; give another folder for the results") from error

    @property
    def _estimates(self) -> Path:
        return self.path / "estimates"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else works in the folder meanwhile; what a killed run left half-written is removed.

        The lock goes with the process that holds it, however that ends. Raises InputError where another has it.
        """
        with (self.path / ".lock").open("w") as handle:
            try:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:  # not on this system: then nothing guards against two at once
                pass
            except OSError as error:
                raise InputError(f"{self.path}: another slt track is at work there; wait for it") from error
            for partial in (*self.path.glob(".*.*"), *self._estimates.glob(".*.*")):
                partial.unlink(missing_ok=True)
            yield

    def scale(self) -> Scale | None:
        """The scale recorded here; None where there is none, or it cannot be read."""
        try:
            saved = json.loads((self.path / "series.json").read_text())
            return Scale(**saved["scale"]) if saved["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def record(self, scale: Scale, settings: dict[str, Any], about: dict[str, Any]) -> None:
        """Write down the scale, the settings, and what the series is of."""
        content = {"format": FORMAT, "scale": asdict(scale), "settings": settings, **about}
        with written_whole(self.path / "series.json") as partial:
            partial.write_text(json.dumps(content, indent=2, default=str) + "\n")

    def forget_scale(self) -> None:
        """For the reference turned out to be of no use."""
        (self.path / "series.json").unlink(missing_ok=True)

    def load(self, step: int, key: str) -> Estimate | None:
        """The finished estimate with this very key; None where there is none, or it is damaged."""
        try:
            return Estimate.load(self._file(step, key))
        except InputError:
            return None

    def save(self, step: int, key: str, estimate: Estimate) -> None:
        """Keep a finished estimate."""
        estimate.save(self._file(step, key))

    def write_results(self, trajectory: Trajectory) -> None:
        """trajectory.csv and trajectory.nc as far as they go."""
        trajectory.write_csv(self.path / "trajectory.csv")
        trajectory.write_netcdf(self.path / "trajectory.nc")

    def write_transitions(self, trajectory: Trajectory) -> list[Transition]:
        """transitions.json, and what is in it; empty where too few checkpoints have a number."""
        found = find_transitions(trajectory) if trajectory.usable.sum() >= LEAST else []
        with written_whole(self.path / "transitions.json") as partial:
            text = json.dumps([item.to_dict() for item in found], indent=2, ensure_ascii=False)
            partial.write_text(text + "\n")
        return found

    def read_transitions(self) -> list[Transition]:
        """What `write_transitions` wrote."""
        text = (self.path / "transitions.json").read_text()
        return [from_record(Transition, record) for record in json.loads(text)]

    def _file(self, step: int, key: str) -> Path:
        return self._estimates / f"step_{step:09d}-{key}.nc"
