"""Training libraries and clusters, each behind an extra of its own: `lightning`, `huggingface`, `dask`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slt.integrations.dask import cluster
    from slt.integrations.huggingface import HuggingFaceTracker
    from slt.integrations.lightning import LightningTracker

_HOME = {
    "HuggingFaceTracker": "slt.integrations.huggingface",
    "LightningTracker": "slt.integrations.lightning",
    "cluster": "slt.integrations.dask",
}

__all__ = ["HuggingFaceTracker", "LightningTracker", "cluster"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'slt.integrations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
