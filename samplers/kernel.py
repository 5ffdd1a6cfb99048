"""Kernel: a pair of pure functions, `init` and `step`. State is carried from step to step, Info is reported."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from samplers.errors import InputError
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior


class Info(NamedTuple):
    """What one step reports, one value per chain."""

    loss: Tensor  # (C,) float64, on the step's samples
    center_loss: Tensor  # (C,) float64, L(w*) on the same samples
    acceptance: Tensor | None = None  # (C,) float64, Metropolis acceptance probability
    radial: Tensor | None = None  # (C,) float64, (w - w*)·∇L(w) where the loss is L(w), on all the data


class State(Protocol):
    """What a kernel carries: the positions, and whatever else it needs. A NamedTuple of tensors."""

    @property
    def position(self) -> Tensor:
        """Positions of the chains, (C, d)."""
        ...


class Kernel(Protocol):
    """A Markov kernel on the weights of a batch of chains."""

    full_data: bool  # True: every step needs all the samples, minibatches would make it wrong

    def init(self, posterior: LocalPosterior, position: Tensor) -> Any:
        """The State at the given positions (C, d)."""
        ...

    def step(self, posterior: LocalPosterior, state: Any, index: Tensor | None, noise: ChainNoise) -> tuple[Any, Info]:
        """The next State, and the Info of this step."""
        ...


def column(value: float | Tensor, like: Tensor) -> float | Tensor:
    """A number as it is; one number per chain (C,) as a column (C, 1) in the dtype of `like`, to scale its rows."""
    if not isinstance(value, Tensor):
        return value
    return value.to(like)[:, None] if value.ndim else value.to(like)


def require_positive(name: str, value: float | Tensor) -> None:
    """InputError unless the number, or each of one number per chain, is positive and finite."""
    given = torch.as_tensor(value)
    if given.ndim > 1 or not bool(((given > 0) & given.isfinite()).all()):
        raise InputError(f"{name} must be positive and finite, one number or one per chain, got {value}")
