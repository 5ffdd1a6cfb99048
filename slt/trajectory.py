"""Trajectory: how the learning coefficient moved during training, one entry per checkpoint, all at one scale."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from samplers.errors import InputError
from slt.files import written_whole
from slt.llc.draws import llc_draws, sound_chains
from slt.llc.estimate import Estimate

NUMBERS = ("loss", "llc", "std_error", "rhat", "ess", "step_size")
WORDS = ("status", "checkpoint", "reasons")
SCALE = ("n", "beta", "gamma")
CSV_COLUMNS = ("step", *NUMBERS[:5], "status", "checkpoint", *SCALE, *NUMBERS[5:], "reasons")


@dataclass(frozen=True)
class Trajectory:
    """λ̂ over training: arrays (T,) in increasing order of `step`.

    `loss` is L(w*) in nats, `std_error` the Monte Carlo standard error of λ̂. `n`, `beta` and `gamma` are the scale,
    the same for all. `chain_llc` (chain, T) is each chain's own λ̂, NaN where the chain was lost; chain k sees the
    same randomness at every checkpoint. `status` is 'ok', 'warning', 'failed', or 'skipped' for a checkpoint that
    could not be read, with its `reasons`.

    Raises InputError where lengths differ or steps repeat.
    """

    step: np.ndarray
    llc: np.ndarray
    std_error: np.ndarray
    loss: np.ndarray
    n: float = math.nan
    beta: float = math.nan
    gamma: float = math.nan
    rhat: np.ndarray = field(default_factory=lambda: np.empty(0))
    ess: np.ndarray = field(default_factory=lambda: np.empty(0))
    step_size: np.ndarray = field(default_factory=lambda: np.empty(0))
    status: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    chain_llc: np.ndarray | None = None

    def __post_init__(self) -> None:
        steps = np.asarray(self.step)
        if steps.ndim != 1 or (np.diff(steps) <= 0).any():
            raise InputError("the steps of a trajectory must increase: sort the checkpoints, one for each step")
        object.__setattr__(self, "step", steps)
        for name in NUMBERS:
            values = np.asarray(getattr(self, name), dtype=float)
            object.__setattr__(self, name, values if len(values) else np.full(len(steps), np.nan))
        for name in WORDS:
            default = "ok" if name == "status" else ""
            object.__setattr__(self, name, tuple(getattr(self, name)) or (default,) * len(steps))
        for name in (*NUMBERS, *WORDS):
            if len(getattr(self, name)) != len(steps):
                raise InputError(f"{name} has {len(getattr(self, name))} entries for {len(steps)} steps")
        if self.chain_llc is not None and self.chain_llc.shape[1:] != steps.shape:
            raise InputError(f"chain_llc must be (chain, {len(steps)}), got {self.chain_llc.shape}")

    @property
    def usable(self) -> np.ndarray:
        """Which checkpoints have a number that can be used, (T,) bool."""
        sound = np.array([status in ("ok", "warning") for status in self.status], dtype=bool)
        return sound & np.isfinite(self.llc)

    @classmethod
    def from_rows(cls, rows: Iterable[dict[str, Any]]) -> "Trajectory":
        """From one dict per checkpoint, as `row` makes them, in any order.

        Raises InputError where they are not all at the same n, β and γ: λ̂ at different scales make no curve.
        """
        rows = sorted(rows, key=lambda row: row["step"])
        known = [row for row in rows if row["status"] != "skipped"]
        for name in SCALE:
            found = sorted({float(row[name]) for row in known})
            if len(found) > 1:
                raise InputError(
                    f"estimates at different {name} ({found[0]:g} and {found[-1]:g}) make no trajectory: the learning "
                    "coefficient depends on its scale; run all of them with the same n, beta and gamma"
                )
        chains = max((len(row["chain_llc"]) for row in known if row.get("chain_llc")), default=0)
        blank = [math.nan] * chains
        per_chain = [(row.get("chain_llc") or blank) if row in known else blank for row in rows]
        columns: dict[str, Any] = {name: np.array([_number(row.get(name)) for row in rows]) for name in NUMBERS}
        columns |= {name: float(known[0][name]) if known else math.nan for name in SCALE}
        columns |= {name: tuple(str(row.get(name) or "") for row in rows) for name in WORDS}
        if chains:
            columns["chain_llc"] = np.array([[_number(value) for value in values] for values in per_chain]).T
        return cls(step=np.array([row["step"] for row in rows], dtype=int), **columns)

    def rows(self) -> list[dict[str, Any]]:
        """One dict per checkpoint, what `trajectory.csv` holds."""
        columns = {name: getattr(self, name) for name in ("step", *NUMBERS, *WORDS)}
        scale = {name: getattr(self, name) for name in SCALE}
        return [
            {"step": int(self.step[i]), **{name: columns[name][i] for name in (*NUMBERS, *WORDS)}, **scale}
            for i in range(len(self.step))
        ]

    def write_csv(self, path: str | Path) -> None:
        """One line per checkpoint; floats in full precision."""
        with written_whole(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS)
            writer.writeheader()
            for row in self.rows():
                writer.writerow({name: repr(float(v)) if isinstance(v, float) else v for name, v in row.items()})

    def write_netcdf(self, path: str | Path) -> None:
        """netCDF (HDF5) with dimensions (step) and (chain, step), readable by xarray."""
        variables: dict[str, Any] = {name: ("step", getattr(self, name)) for name in NUMBERS}
        variables |= {name: ("step", np.array(getattr(self, name), dtype=object)) for name in WORDS}
        if self.chain_llc is not None:
            variables["chain_llc"] = (("chain", "step"), self.chain_llc)
        data = xr.Dataset(variables, coords={"step": self.step}, attrs={name: getattr(self, name) for name in SCALE})
        with written_whole(path) as partial:
            data.to_netcdf(partial, engine="h5netcdf")


def row(step: int, estimate: Estimate) -> dict[str, Any]:
    """What a trajectory keeps of an estimate, as plain values."""
    draws = llc_draws(estimate.trace, estimate.n * estimate.beta)[:, estimate.trace.warmup :]
    sound = set(sound_chains(estimate.trace).tolist())
    return {
        "step": step,
        "loss": estimate.center_loss,
        **{name: getattr(estimate, name) for name in ("llc", "std_error", "rhat", "ess", "step_size")},
        **{name: getattr(estimate, name) for name in ("status", "checkpoint", *SCALE)},
        "reasons": "; ".join(estimate.reasons),
        "chain_llc": [float(draws[k].mean()) if k in sound else math.nan for k in range(len(draws))],
    }


def read_trajectory(run: str | Path) -> Trajectory:
    """The trajectory that `slt track` left in the folder `run`, or in a trajectory.nc or .csv given by name.

    Raises InputError, one line, where there is none, or where its rows are at different scales.
    """
    path = Path(run)
    path = path / "trajectory.nc" if path.is_dir() else path
    if not path.exists():
        raise InputError(f"{path}: no such trajectory; `slt track TASK.py DIR -o {run}` makes one")
    try:
        rows = _csv_rows(path) if path.suffix == ".csv" else _netcdf_rows(path)
    except (OSError, KeyError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: is no trajectory ({said}); make it again with `slt track`") from error
    return Trajectory.from_rows(rows)


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        rows: Sequence[dict[str, Any]] = list(csv.DictReader(file))
    return [{"status": "ok", **row, "step": int(row["step"])} for row in rows]


def _netcdf_rows(path: Path) -> list[dict[str, Any]]:
    with xr.open_dataset(path, engine="h5netcdf") as data:
        scale = {name: float(data.attrs[name]) for name in SCALE}
        columns = {name: data[name].values for name in ("step", *NUMBERS, *WORDS)}
        chains = data["chain_llc"].values.T.tolist() if "chain_llc" in data else None
    return [
        {name: values[i] for name, values in columns.items()}
        | {"step": int(columns["step"][i])}
        | scale
        | {"chain_llc": chains[i] if chains else None}
        for i in range(len(columns["step"]))
    ]


def _number(value: Any) -> float:
    return math.nan if value in (None, "") else float(value)
