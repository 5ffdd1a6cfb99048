"""Singular learning theory for trained networks: local learning coefficients with honest errors."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplers.errors import InputError
    from samplers.trace import Trace
    from slt import exact
    from slt.checkpoints import load_checkpoint
    from slt.compare import compare_phases
    from slt.diagnosis import diagnose
    from slt.estimate import Estimate
    from slt.estimation import estimate_llc
    from slt.free_energy_estimate import FreeEnergyEstimate
    from slt.information import waic
    from slt.local_free_energy import free_energy
    from slt.losses import causal_lm_loss, cross_entropy, gaussian_loss
    from slt.rlct import estimate_rlct
    from slt.rlct_estimate import RLCTEstimate
    from slt.scale_comparison import compare_scales
    from slt.scale_curve import scale_curves
    from slt.scale_ladder import sample_scales
    from slt.task import Task, load_task
    from slt.tracker import Tracker
    from slt.tracking import track
    from slt.trajectory import Trajectory, read_trajectory
    from slt.transitions import Transition, find_transitions

# Where each public name lives. Loaded when first used: `import slt` and `slt exact` do not wait for torch and arviz.
_HOME = {
    "Estimate": "slt.estimate",
    "FreeEnergyEstimate": "slt.free_energy_estimate",
    "InputError": "samplers.errors",
    "RLCTEstimate": "slt.rlct_estimate",
    "Task": "slt.task",
    "Trace": "samplers.trace",
    "Tracker": "slt.tracker",
    "Trajectory": "slt.trajectory",
    "Transition": "slt.transitions",
    "causal_lm_loss": "slt.losses",
    "compare_phases": "slt.compare",
    "compare_scales": "slt.scale_comparison",
    "cross_entropy": "slt.losses",
    "diagnose": "slt.diagnosis",
    "estimate_llc": "slt.estimation",
    "estimate_rlct": "slt.rlct",
    "find_transitions": "slt.transitions",
    "free_energy": "slt.local_free_energy",
    "gaussian_loss": "slt.losses",
    "load_checkpoint": "slt.checkpoints",
    "load_task": "slt.task",
    "read_trajectory": "slt.trajectory",
    "track": "slt.tracking",
    "sample_scales": "slt.scale_ladder",
    "scale_curves": "slt.scale_curve",
    "waic": "slt.information",
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
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name == "exact":
        return import_module("slt.exact")
    raise AttributeError(f"module 'slt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
