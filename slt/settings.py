"""The knobs of an estimate, their defaults and their checks. The same names in Python and on the command line."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from samplers.arguments import not_negative, positive, whole
from samplers.errors import InputError
from samplers.kernel import Kernel
from samplers.registry import NAMES

SAMPLERS = ("auto", *NAMES)
REMEDIES = ("gradient-normal", "heat-capacity")
SERIES_REMEDY = "gradient-normal"
PRECONDITIONERS = ("auto", "identity", "diagonal", "low-rank")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
LOCALITY_RADIUS = 0.3
FULL_PASS_IS_CHEAP = 2e7  # samples × weights up to which a full-data gradient is taken for granted


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; None means that the program chooses.

    `evaluation`: 'auto', 'vmap', 'loop' or 'compile', see `samplers.engine.ModuleLoss`. `amp`: forward and backward
    passes in bfloat16 autocast, weights and noise in `dtype`; differences of losses below bfloat16's precision are
    lost, so that it suits only coarse answers. `memory`: GiB that activations may take at once. `extrapolate`: measure
    the bias that a step without rejection has, with some of the chains at twice the step, and take it out of λ̂.
    `remedy`, for a w* that is no minimum: 'gradient-normal' keeps the chains in the hyperplane through w* normal to the
    gradient there, 'heat-capacity' takes (nβ)² Var L, which needs no L(w*), for λ̂. `initial_step_size`: where 'hmc' and
    'mala' begin to look for a step size, such as that of a similar model; if it suits, warm-up is shorter.
    """

    chains: int = 8
    warmup: int | None = None
    draws: int | None = None
    thin: int | None = None
    batch_size: int | None = None
    step_size: float | None = None
    initial_step_size: float | None = None
    gamma: float | None = None
    beta: float | None = None
    sampler: str | Kernel = "auto"
    preconditioner: str = "auto"
    seed: int = 0
    device: str | torch.device | None = None
    dtype: str | torch.dtype | None = None
    target_error: float = 0.04
    max_steps: int = 20_000
    max_seconds: float | None = None
    evaluation: str = "auto"
    amp: bool = False
    memory: float = 1.0
    extrapolate: bool = True
    remedy: str | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("chains", 1),
            ("warmup", 0),
            ("draws", 4),
            ("thin", 1),
            ("batch_size", 1),
            ("max_steps", 1),
            ("seed", 0),
        ):
            self._check(name, whole, least)
        for name in ("step_size", "initial_step_size", "gamma", "target_error", "max_seconds", "memory"):
            self._check(name, positive)
        self._check("beta", not_negative)
        if isinstance(self.sampler, str) and self.sampler not in SAMPLERS:
            raise InputError(f"sampler must be one of {', '.join(SAMPLERS)}, or a kernel, got {self.sampler!r}")
        if self.remedy not in (None, *REMEDIES):
            raise InputError(f"remedy must be one of {', '.join(REMEDIES)}, got {self.remedy!r}")
        if self.preconditioner not in PRECONDITIONERS:
            raise InputError(f"preconditioner must be one of {', '.join(PRECONDITIONERS)}, got {self.preconditioner!r}")

    def _check(self, name: str, check: Callable[..., float], *limits: int) -> None:
        """Replace a number by what a check of `samplers.arguments` makes of it; None stays where it is the default."""
        value = getattr(self, name)
        if value is not None or getattr(type(self), name) is not None:
            object.__setattr__(self, name, check(value, name, *limits))


def settings_by_name(settings: dict[str, Any]) -> Settings:
    """The settings called by name, checked. Raises InputError for a name that is none."""
    known = [field.name for field in fields(Settings)]
    for name in settings:
        if name not in known:
            raise InputError(f"unknown setting {name!r}; known are {', '.join(known)}")
    return Settings(**settings)


def series_remedy(asked: str | None, sampler: str | Kernel) -> str | None:
    """The remedy of all estimates of a series: 'auto', 'none' or None, or one of `REMEDIES`.

    'auto' is 'gradient-normal' for all of them, so that the curve is one estimator throughout: checkpoints early in
    training are no minima, and their gradient lowers λ̂, to below 0 where it is large. At a minimum one direction of
    d is frozen: λ̂ is lower by its share, which is at most ½. Composed kernels and NUTS have none.
    """
    if asked == "auto":
        return SERIES_REMEDY if isinstance(sampler, str) and sampler != "nuts" else None
    if asked in (None, "none", *REMEDIES):
        return None if asked == "none" else asked
    raise InputError(f"remedy must be auto, none, {' or '.join(REMEDIES)}, got {asked!r}")


def default_gamma(center: Tensor, radius: float = LOCALITY_RADIUS) -> float:
    """γ = d / (r |w*|)²: the localizing Gaussian N(w*, I/γ) has root-mean-square distance r |w*| from w*.

    So "local" means weights that differ from the trained ones by about 30% of their norm (r = 0.3), whatever the
    network's size; along flat directions chains travel that far, and a fixed γ such as 1 or 100 would mean something
    else for each network. λ̂ of a network depends on γ: compare only numbers made at the same γ. γ = 1 where w* = 0.
    """
    norm = float(center.double().norm())
    return len(center) / (radius * norm) ** 2 if norm > 0 else 1.0


def default_beta(n: int) -> float:
    """β* = 1/log n, at which E[nL] is an estimate of the free energy (Watanabe 2013)."""
    if n < 3:
        raise InputError(f"beta = 1/log n needs at least 3 samples, got n = {n}: give beta")
    return 1 / math.log(n)


def choose_sampler(n: int, dimension: int, batch_size: int | None) -> str:
    """Full-data HMC where a pass over the data is cheap, else SGLD with control variates on minibatches.

    HMC is exact for any step size. What is cheap is decided by n · d, not by the clock, so that a seed means the same
    everywhere.
    """
    return "hmc" if batch_size in (None, n) and n * dimension <= FULL_PASS_IS_CHEAP else "sgld-cv"


def choose_dtype(dtype: str | torch.dtype | None, model: nn.Module) -> torch.dtype:
    """The dtype asked for; else the model's own, half precision raised to float32."""
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        return DTYPES[dtype]
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    chosen = dtype or (own if own == torch.float64 else torch.float32)
    if chosen not in DTYPES.values():
        raise InputError(
            f"dtype must be float32 or float64, got {chosen}: chains in half precision lose their noise to rounding"
        )
    return chosen


def choose_device(device: str | torch.device | None, model: nn.Module) -> torch.device:
    """The device asked for ('auto': CUDA where there is one); else the one the model is on."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device is None:
        return next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    return chosen
