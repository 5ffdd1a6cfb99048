"""Trace: what came out of a run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

ARRAYS = ("loss", "center_loss", "distance", "acceptance", "radial")


@dataclass(frozen=True)
class Trace:
    """Draws of a run, arrays (chain, draw) in float64.

    `loss` is L at the chain, `center_loss` is L(w*) on the same samples, `distance` is |w - w*|², `acceptance` the
    Metropolis acceptance probability (NaN for uncorrected kernels), `radial` is (w - w*)·∇L(w), None for kernels that
    do not keep the gradient. `warmup` draws at the front are not yet in equilibrium.
    """

    loss: np.ndarray
    center_loss: np.ndarray
    distance: np.ndarray
    acceptance: np.ndarray
    warmup: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    radial: np.ndarray | None = None

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.loss.shape[0]

    @property
    def draws(self) -> int:
        """Number of draws after warm-up."""
        return self.loss.shape[1] - self.warmup

    def kept(self, name: str) -> np.ndarray:
        """The array `name` after warm-up, (chain, draw)."""
        return getattr(self, name)[:, self.warmup :]

    def to_xarray(self) -> xr.Dataset:
        """The trace as an xarray Dataset with dimensions (chain, draw)."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        variables = {name: (("chain", "draw"), array) for name, array in arrays.items() if array is not None}
        attributes = {name: value for name, value in self.attributes.items() if value is not None}
        return xr.Dataset(variables, attrs={"warmup": self.warmup, **attributes})

    def save(self, path: str | Path) -> None:
        """Write netCDF (HDF5), readable by xarray and ArviZ."""
        self.to_xarray().to_netcdf(path, engine="h5netcdf")

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read what `save` wrote."""
        with xr.open_dataset(path, engine="h5netcdf") as data:
            arrays = {name: data[name].values for name in ARRAYS if name != "radial" or name in data}
            attributes = dict(data.attrs)
        return cls(**arrays, warmup=int(attributes.pop("warmup")), attributes=attributes)


def concatenate(pieces: list[Trace]) -> Trace:
    """Several traces of the same chains, one after the other; `radial` is NaN where only some of them have it."""

    def join(name: str) -> Any:
        parts = [getattr(piece, name) for piece in pieces]
        if all(part is None for part in parts):
            return None
        missing = [np.full_like(piece.loss, np.nan) for piece in pieces]
        return np.concatenate([m if part is None else part for part, m in zip(parts, missing, strict=True)], axis=1)

    return Trace(**{name: join(name) for name in ARRAYS})
