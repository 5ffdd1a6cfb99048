"""The forward and backward passes of a batch of chains: all at once under vmap, or one chain after the other.

Which of the two is faster is a matter of counts, not of the clock, so that the same run takes the same path (and
gives the same bits) every time. Under vmap the chains share the cost of starting each operation; but batched weights
make slower kernels of convolutions and attention, and hold the activations of all chains at once. So chains go
together while the arithmetic of one of them, counted by torch's own FLOP counter, takes no longer than starting its
operations does.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.flop_counter import FlopCounterMode

from samplers.parameters import ParameterLayout

PerSampleLoss = Callable[[Any, Any], Tensor]
COMPILED_FACTOR = 4  # compiled batched products lose less: they pay up to this many times the arithmetic
LAUNCH_BOUND_FLOPS = {"cpu": 5e7, "cuda": 5e10}  # about a millisecond's arithmetic, in floating point operations


class Batch(Protocol):
    """Some samples: what the model is called with, and what its output is held against."""

    @property
    def args(self) -> tuple:
        """Positional arguments of the model."""
        ...

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the model."""
        ...

    @property
    def target(self) -> Any:
        """What the loss compares the output with."""
        ...


class Passes:
    """Per-sample losses, and gradients of their sum, for rows of flat weights w (C, d).

    `together(rows, samples)` says how the rows are best evaluated.
    """

    def __init__(self, model: nn.Module, layout: ParameterLayout, loss: PerSampleLoss, amp: bool):
        self.model, self.layout, self.loss, self.amp = model, layout, loss, amp
        self.device = next(model.parameters()).device
        self.vmappable: bool | None = None  # None: as `together` decides
        self.flops = 0.0  # per sample and chain, forward and backward

    def together(self, rows: int, samples: int, compiled: bool = False) -> bool:
        """Whether the rows go through one vmapped pass."""
        if rows == 1 or self.vmappable is not None:
            return rows > 1 and bool(self.vmappable)
        most = LAUNCH_BOUND_FLOPS.get(self.device.type, LAUNCH_BOUND_FLOPS["cuda"])
        return self.flops * samples <= most * (COMPILED_FACTOR if compiled else 1)

    def one(self, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        """Loss of each sample, (samples,), at one set of parameters."""
        return self._apply(parameters, batch.args, batch.kwargs, batch.target)

    def at(self, w: Tensor, args: tuple, kwargs: dict[str, Any], target: Any) -> Tensor:
        """Loss of each sample, (samples,), at one flat w (d,)."""
        return self._apply(self.layout.unflatten(w), args, kwargs, target)

    def _apply(self, parameters: dict[str, Tensor], args: tuple, kwargs: dict[str, Any], target: Any) -> Tensor:
        with self._precision():
            return self.loss(functional_call(self.model, parameters, args, kwargs), target)

    def losses(self, w: Tensor, batch: Batch) -> Tensor:
        """Loss of each sample at each row of w, (C, samples), to which autograd can go back."""
        if len(w) == 1:
            return self.one(self.layout.unflatten(w[0]), batch)[None]
        return vmap(self.one, in_dims=(0, None))(self.layout.unflatten(w), batch)

    def value(self, w: Tensor, batch: Batch) -> Tensor:
        """Losses of each row summed over the samples, float64 (C,), without a gradient."""
        with torch.no_grad():
            return self.losses(w, batch).double().sum(-1)

    def gradient(self, w: Tensor, batch: Batch, scale: float, out: Tensor, add: bool) -> Tensor:
        """Losses of each row summed over the samples, float64 (C,); `scale` times the gradient of that into `out`.

        `out` (C, d) is added to if `add`, else overwritten.
        """
        if not add:
            out.zero_()
        single = len(w) == 1
        w, out = (w[0], out[0]) if single else (w, out)
        into = self.layout.unflatten(out)
        with torch.enable_grad():
            parts = {name: part.detach().requires_grad_() for name, part in self.layout.unflatten(w).items()}
            for name, part in parts.items():  # one after the other: no second gradient of all weights is ever held
                part.register_post_accumulate_grad_hook(_moving_to(into[name]))
            losses = self.one(parts, batch)[None] if single else vmap(self.one, in_dims=(0, None))(parts, batch)
        losses.backward(losses.new_full(losses.shape, scale), inputs=list(parts.values()))
        return losses.detach().double().sum(-1)

    def count(self, center: Tensor, batch: Batch, samples: int) -> None:
        """Count the arithmetic of a forward and backward pass at the weights `center` (d,)."""
        w = center[None]
        with FlopCounterMode(display=False) as counter:
            self.gradient(w, batch, 1.0, torch.empty_like(w), add=False)
        self.flops = counter.get_total_flops() / samples

    def try_vmap(self, center: Tensor, batch: Batch) -> None:
        """Find out whether vmap can evaluate the model: if it cannot, or only op by op, chains are looped."""
        w = center.expand(2, -1).contiguous()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.gradient(w, batch, 1.0, torch.empty_like(w), add=False)
        except (RuntimeError, ValueError, NotImplementedError):
            self.vmappable = False
            return
        if any("batching rule" in str(warning.message) for warning in caught):
            self.vmappable = False

    def _precision(self) -> AbstractContextManager:
        if not self.amp:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False)


def _moving_to(total: Tensor) -> Callable[[Tensor], None]:
    """A hook that adds the gradient of a parameter to `total` and lets go of it."""

    def move(parameter: Tensor) -> None:
        total.add_(parameter.grad)  # type: ignore[arg-type]
        parameter.grad = None

    return move
