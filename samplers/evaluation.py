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
from torch.func import functional_call, grad_and_value, vmap
from torch.utils.flop_counter import FlopCounterMode

from samplers.memory import is_out_of_memory
from samplers.parameters import ParameterLayout

PerSampleLoss = Callable[[Any, Any], Tensor]
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

    `together(rows, samples)` says how the rows are evaluated, `compile()` has what follows go through
    `torch.compile`.
    """

    def __init__(self, model: nn.Module, layout: ParameterLayout, loss: PerSampleLoss, amp: bool):
        self.model, self.layout, self.loss, self.amp = model, layout, loss, amp
        self.device = next(model.parameters()).device
        self.vmappable: bool | None = None  # None: as `together` decides
        self.flops = 0.0  # per sample and chain, forward and backward
        self.remarks: list[str] = []
        self._compiled: dict[str, Callable] = {}
        self._warmed: set[tuple] = set()

    def together(self, rows: int, samples: int) -> bool:
        """Whether the rows go through one vmapped pass."""
        if rows == 1 or self.vmappable is not None:
            return rows > 1 and bool(self.vmappable)
        return self.flops * samples <= LAUNCH_BOUND_FLOPS.get(self.device.type, LAUNCH_BOUND_FLOPS["cuda"])

    @property
    def is_compiled(self) -> bool:
        """Whether passes go through torch.compile."""
        return bool(self._compiled)

    def one(self, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        """Loss of each sample, (samples,), at one set of parameters."""
        with self._precision():
            output = functional_call(self.model, parameters, batch.args, batch.kwargs)
            return self.loss(output, batch.target)

    def losses(self, w: Tensor, batch: Batch) -> Tensor:
        """Loss of each sample at each row of w, (C, samples), to which autograd can go back."""
        if len(w) == 1:
            return self.one(self.layout.unflatten(w[0]), batch)[None]
        return vmap(self.one, in_dims=(0, None))(self.layout.unflatten(w), batch)

    def value(self, w: Tensor, batch: Batch, compiled: bool) -> Tensor:
        """Losses of each row summed over the samples, float64 (C,), without a gradient."""
        with torch.no_grad():
            if compiled and len(w) == 1 and self._compiled:
                found = self._call("value", w[0], batch, w.new_ones(()))
                if found is not None:
                    return found[None].clone()
            return self.losses(w, batch).double().sum(-1)

    def gradient(self, w: Tensor, batch: Batch, scale: float, out: Tensor, add: bool, compiled: bool) -> Tensor:
        """Losses of each row summed over the samples, float64 (C,); `scale` times the gradient of that into `out`.

        `out` (C, d) is added to if `add`, else overwritten.
        """
        if compiled and self._compiled:
            name, rows = ("gradient", w[0]) if len(w) == 1 else ("gradients", w)
            found = self._call(name, rows, batch, torch.full((), scale, dtype=w.dtype, device=w.device))
            if found is not None:
                gradient, total = found
                out.add_(gradient.view_as(out)) if add else out.copy_(gradient.view_as(out))
                return total.reshape(len(w)).clone()
        with torch.enable_grad():
            parts = {name: part.detach().requires_grad_() for name, part in self.layout.unflatten(w).items()}
            if len(w) == 1:
                losses = self.one({name: part[0] for name, part in parts.items()}, batch)[None]
            else:
                losses = vmap(self.one, in_dims=(0, None))(parts, batch)
        weights = losses.new_full(losses.shape, scale)
        gradients = torch.autograd.grad(losses, list(parts.values()), weights, materialize_grads=True)
        if add:
            for part, gradient in zip(self.layout.unflatten(out).values(), gradients, strict=True):
                part.add_(gradient)
        else:
            torch.cat([gradient.reshape(len(w), -1) for gradient in gradients], dim=1, out=out)
        return losses.detach().double().sum(-1)

    def count(self, center: Tensor, batch: Batch, samples: int) -> None:
        """Count the arithmetic of a forward and backward pass at the weights `center` (d,)."""
        w = center[None]
        with FlopCounterMode(display=False) as counter:
            self.gradient(w, batch, 1.0, torch.empty_like(w), add=False, compiled=False)
        self.flops = counter.get_total_flops() / samples

    def try_vmap(self, center: Tensor, batch: Batch) -> None:
        """Find out whether vmap can evaluate the model: if it cannot, or only op by op, chains are looped."""
        w = center.expand(2, -1).contiguous()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.gradient(w, batch, 1.0, torch.empty_like(w), add=False, compiled=False)
        except (RuntimeError, ValueError, NotImplementedError):
            self.vmappable = False
            return
        if any("batching rule" in str(warning.message) for warning in caught):
            self.vmappable = False

    def compile(self) -> None:
        """Have passes over minibatches go through torch.compile; on CUDA with CUDA graphs, for they are launch-bound.

        Compilation happens on the first call for each shape, and takes ten seconds to a minute on a CPU. Where it
        fails (no C compiler, an operation it does not know) passes go on without it and `remarks` say why.
        """

        def value(row: Tensor, args: tuple, kwargs: dict, target: Any, scale: Tensor) -> Tensor:
            return self._one_flat(row, args, kwargs, target).double().sum()

        def scaled(row: Tensor, args: tuple, kwargs: dict, target: Any, scale: Tensor) -> tuple[Tensor, Tensor]:
            losses = self._one_flat(row, args, kwargs, target)
            return scale * losses.sum(), losses.double().sum()

        def gradient(*arguments: Any) -> tuple[Tensor, Tensor]:
            found, (_, total) = grad_and_value(scaled, has_aux=True)(*arguments)
            return found, total

        def gradients(*arguments: Any) -> tuple[Tensor, Tensor]:
            return vmap(gradient, in_dims=(0, None, None, None, None))(*arguments)

        mode = "reduce-overhead" if self.device.type == "cuda" else None
        for function in (value, gradient, gradients):
            self._compiled[function.__name__] = torch.compile(function, mode=mode, dynamic=False)

    def _one_flat(self, row: Tensor, args: tuple, kwargs: dict, target: Any) -> Tensor:
        with self._precision():
            output = functional_call(self.model, self.layout.unflatten(row), args, kwargs)
            return self.loss(output, target)

    def _call(self, name: str, w: Tensor, batch: Batch, scale: Tensor) -> Any:
        """What a compiled function returns; None, and a remark, where it cannot be compiled."""
        arguments = (w.detach(), batch.args, batch.kwargs, batch.target, scale)
        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        key = name, tuple(w.shape)
        if key in self._warmed:
            return self._compiled[name](*arguments)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice on how to compile better, meant for the author of the model
                found = self._compiled[name](*arguments)
        except Exception as error:  # whatever dynamo, inductor or the C compiler raise
            if is_out_of_memory(error):
                raise
            said = (str(error).strip() or "no message").splitlines()[0]
            self.remarks.append(f"not compiled: torch.compile raised {type(error).__name__}: {said}")
            self._compiled = {}
            return None
        self._warmed.add(key)
        return found

    def _precision(self) -> AbstractContextManager:
        if not self.amp:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False)
