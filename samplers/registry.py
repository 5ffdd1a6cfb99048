"""Kernels by name. A name is a starting composition; any of its parts can be replaced."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from torch import Tensor

from samplers.adaptive_preconditioner import Adam, RMSprop
from samplers.errors import InputError
from samplers.gradient import ControlVariate
from samplers.hmc import HMC
from samplers.kernel import Kernel
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT

# name -> the kernel's class, and what makes the parts in which it differs from the class's defaults
KERNELS: dict[str, tuple[type, Callable[[], dict[str, Any]]]] = {
    "sgld": (SGLD, dict),
    "sgld-cv": (SGLD, lambda: {"gradient": ControlVariate()}),
    "psgld": (SGLD, lambda: {"preconditioner": RMSprop()}),
    "adam-sgld": (SGLD, lambda: {"preconditioner": Adam()}),
    "sghmc": (SGHMC, dict),
    "sgnht": (SGNHT, dict),
    "mala": (HMC, lambda: {"leapfrog_steps": 1, "jitter": 0.0}),
    "hmc": (HMC, dict),
}
FULL_DATA = ("mala", "hmc", "nuts")
NAMES = (*KERNELS, "nuts")  # NUTS is a whole run, in samplers.pyro_nuts: it has no steps to compose


def make_kernel(name: str, step_size: float | Tensor, **parts: Any) -> Kernel:
    """The kernel called `name` with step size ε; `parts` are fields of its class, None means as the name has it.

    >>> make_kernel("sghmc", 1e-4, momentum=0.5).momentum
    0.5

    Raises InputError for an unknown name and for a part that the kernel does not have.
    """
    if name == "nuts":
        raise InputError("nuts is a whole run, not a kernel: call samplers.pyro_nuts.nuts")
    if name not in KERNELS:
        raise InputError(f"sampler must be one of {', '.join(NAMES)}, or a kernel, got {name!r}")
    kind, defaults = KERNELS[name]
    given = {part: value for part, value in parts.items() if value is not None}
    known = [field.name for field in fields(kind) if field.name != "step_size"]
    for part in given:
        if part not in known:
            raise InputError(f"sampler {name!r} has no {part}; it has {', '.join(known)}")
    return kind(step_size, **(defaults() | given))
