"""LadderTrace: what came out of a ladder of temperatures."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

_DRAWS = {"loss": ("chain", "draw", "rung"), "distance": ("chain", "draw", "rung")}
_RUNGS = {"beta": ("rung",), "acceptance": ("step",), "rejection": ("step",), "step_size": ("step",)}
_CHAINS = {"round_trips": ("chain",)}
_DIMENSIONS = _DRAWS | _RUNGS | _CHAINS


@dataclass(frozen=True)
class LadderTrace:
    """Draws of M independent replicas of a ladder of R + 1 rungs, in float64; a replica is ArviZ's chain.

    `loss` is L and `distance` |w - w*|² at every rung, (replica, draw, rung); the bottom rung β = 0 holds independent
    exact draws of the localizing Gaussian. Of every rung above it: `acceptance` of its moves (NaN for uncorrected
    kernels), `step_size`, and `rejection`, the rate at which exchanges with the rung below are refused, (R,).
    `round_trips` (replica,) counts draws of the bottom rung that have climbed to the top. `warmup` draws at the front
    are not yet in equilibrium.
    """

    loss: np.ndarray
    distance: np.ndarray
    beta: np.ndarray
    acceptance: np.ndarray
    rejection: np.ndarray
    step_size: np.ndarray
    round_trips: np.ndarray
    warmup: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """M, the number of independent ladders."""
        return self.loss.shape[0]

    @property
    def draws(self) -> int:
        """Number of draws after warm-up."""
        return self.loss.shape[1] - self.warmup

    def kept(self, name: str = "loss") -> np.ndarray:
        """The array `name` after warm-up, (replica, draw, rung)."""
        return getattr(self, name)[:, self.warmup :]

    def followed_by(self, other: "LadderTrace") -> "LadderTrace":
        """This trace and the next piece of the same run, as one."""
        mine, theirs = self.loss.shape[1], other.loss.shape[1]
        share = theirs / (mine + theirs)
        return replace(
            other,
            loss=np.concatenate([self.loss, other.loss], axis=1),
            distance=np.concatenate([self.distance, other.distance], axis=1),
            acceptance=(1 - share) * self.acceptance + share * other.acceptance,
            rejection=(1 - share) * self.rejection + share * other.rejection,
            warmup=self.warmup,
        )

    def to_xarray(self) -> xr.Dataset:
        """The trace as an xarray Dataset; a step leads from one rung to the next."""
        variables = {name: (dimensions, getattr(self, name)) for name, dimensions in _DIMENSIONS.items()}
        attributes = {name: value for name, value in self.attributes.items() if value is not None}
        return xr.Dataset(variables, attrs={"warmup": self.warmup, **attributes})

    def save(self, path: str | Path) -> None:
        """Write netCDF (HDF5), readable by xarray and ArviZ."""
        self.to_xarray().to_netcdf(path, engine="h5netcdf")

    @classmethod
    def load(cls, path: str | Path) -> "LadderTrace":
        """Read what `save` wrote."""
        with xr.open_dataset(path, engine="h5netcdf") as data:
            arrays = {name: data[name].values for name in _DIMENSIONS}
            attributes = dict(data.attrs)
        return cls(**arrays, warmup=int(attributes.pop("warmup")), attributes=attributes)
