"""Singular learning theory for trained networks: local learning coefficients with honest errors."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplers.errors import InputError
    from samplers.trace import Trace
    from slt import exact
    from slt.checkpoints import load_checkpoint
    from slt.diagnosis.diagnosis import diagnose
    from slt.free_energies.compare import compare_phases
    from slt.free_energies.estimate import FreeEnergyEstimate
    from slt.free_energies.information import waic
    from slt.free_energies.local import free_energy
    from slt.llc.estimate import Estimate
    from slt.llc.estimation import estimate_llc
    from slt.losses import causal_lm_loss, cross_entropy, gaussian_loss
    from slt.rlct.estimate import RLCTEstimate
    from slt.rlct.estimation import estimate_rlct
    from slt.scale.comparison import compare_scales
    from slt.scale.curve import scale_curves
    from slt.scale.ladder import sample_scales
    from slt.series.tracker import Tracker
    from slt.series.tracking import track
    from slt.series.watching import watch
    from slt.task import Task, load_task
    from slt.trajectory import Trajectory, read_trajectory
    from slt.transitions.detection import Transition, find_transitions

# Where each public name lives. Loaded when first used: `import slt` and `slt exact` do not wait for torch and arviz.
_HOME = {
    "Estimate": "slt.llc.estimate",
    "FreeEnergyEstimate": "slt.free_energies.estimate",
    "InputError": "samplers.errors",
    "RLCTEstimate": "slt.rlct.estimate",
    "Task": "slt.task",
    "Trace": "samplers.trace",
    "Tracker": "slt.series.tracker",
    "Trajectory": "slt.trajectory",
    "Transition": "slt.transitions.detection",
    "causal_lm_loss": "slt.losses",
    "compare_phases": "slt.free_energies.compare",
    "compare_scales": "slt.scale.comparison",
    "cross_entropy": "slt.losses",
    "diagnose": "slt.diagnosis.diagnosis",
    "estimate_llc": "slt.llc.estimation",
    "estimate_rlct": "slt.rlct.estimation",
    "find_transitions": "slt.transitions.detection",
    "free_energy": "slt.free_energies.local",
    "gaussian_loss": "slt.losses",
    "load_checkpoint": "slt.checkpoints",
    "load_task": "slt.task",
    "read_trajectory": "slt.trajectory",
    "track": "slt.series.tracking",
    "sample_scales": "slt.scale.ladder",
    "scale_curves": "slt.scale.curve",
    "waic": "slt.free_energies.information",
    "watch": "slt.series.watching",
}

__all__ = [
    "Estimate",
    "FreeEnergyEstimate",
    "InputError",
    "RLCTEstimate",
    "Task",
    "Trace",
    "Tracker",
    "Trajectory",
    "Transition",
    "causal_lm_loss",
    "compare_phases",
    "compare_scales",
    "cross_entropy",
    "diagnose",
    "estimate_llc",
    "estimate_rlct",
    "exact",
    "find_transitions",
    "free_energy",
    "gaussian_loss",
    "load_checkpoint",
    "load_task",
    "read_trajectory",
    "sample_scales",
    "scale_curves",
    "track",
    "waic",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name == "exact":
        return import_module("slt.exact")
    raise AttributeError(f"module 'slt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
