"""How a batch of chains is evaluated: the mean loss of C weight vectors, and its gradient, in one go."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from samplers.errors import InputError
from samplers.parameters import ParameterLayout

PerSampleLoss = Callable[[Any, Any], Tensor]


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


class Data(Protocol):
    """Samples that can be fetched by index."""

    n: int

    def batch(self, index: Tensor | slice) -> Batch:
        """The samples at `index`, collated on the device."""
        ...


class LossFunction(Protocol):
    """L(w), the mean loss per sample in nats, for a batch of weight vectors."""

    dimension: int

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        """L at each row of w (C, d) on the samples `index` (None: all), float64 (C,)."""
        ...

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """L (C,), float64, and its gradient (C, d) at each row of w."""
        ...


class Potential:
    """An analytic K(w) in the place of a network's loss; there are no samples to choose from.

    `function` maps (C, d) to (C,) and is differentiable, row by row independent.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], dimension: int):
        self.function = function
        self.dimension = dimension

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        """K at each row of w (C, d), float64 (C,)."""
        with torch.no_grad():
            return self.function(w).double()

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """K (C,) and its gradient (C, d)."""
        w = w.detach().requires_grad_()
        value = self.function(w)
        (gradient,) = torch.autograd.grad(value.sum(), w)
        return value.detach().double(), gradient


class ModuleLoss:
    """Mean loss of an nn.Module on data, for C weight vectors at once.

    The model is copied once (the caller's is never touched), put into eval mode, on `device` and in `dtype`.
    Parameters that require a gradient are the coordinates of w; if none does, all are. The C forward passes are one
    `torch.func.vmap`; where the model or the loss cannot be vmapped they are a loop over chains, and `evaluation`
    says which. Samples are visited in pieces whose activations fit `memory` bytes.

    Raises InputError when the loss does not give one finite, deterministic value per sample at w*.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: PerSampleLoss,
        data: Data,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        evaluation: str = "auto",
        memory: int = 1 << 30,
    ):
        self.model = copy.deepcopy(model).eval().to(device=device, dtype=dtype)
        self.loss, self.data, self.memory = loss, data, memory
        trained = [item for item in self.model.named_parameters() if item[1].requires_grad]
        named = trained or list(self.model.named_parameters())
        if not named:
            raise InputError("the model has no parameters to sample")
        self.layout = ParameterLayout.of(named)
        self.dimension = self.layout.dimension
        self.center = self.layout.flatten(dict(named)).detach().clone()
        self.model.requires_grad_(False)
        self._check_loss()
        self.activation_bytes = self._activation_bytes()
        self.evaluation = self._choose(evaluation)

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        """L at each row of w (C, d) on the samples `index` (None: all), float64 (C,)."""
        total = torch.zeros(len(w), dtype=torch.float64, device=w.device)
        with torch.no_grad():
            for batch in self._pieces(index, len(w)):
                total += self._losses(w, batch).double().sum(-1)
        return total / self._count(index)

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """L (C,), float64, and its gradient (C, d) at each row of w."""
        count = self._count(index)
        total = torch.zeros(len(w), dtype=torch.float64, device=w.device)
        gradient: Tensor | None = None
        w = w.detach().requires_grad_()
        for batch in self._pieces(index, len(w)):
            losses = self._losses(w, batch)
            (piece,) = torch.autograd.grad(losses.sum() / count, w)
            total += losses.detach().double().sum(-1)
            gradient = piece if gradient is None else gradient.add_(piece)
        assert gradient is not None  # data are never empty
        return total / count, gradient

    def per_sample(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        """Loss of every sample at each row of w, (C, samples)."""
        with torch.no_grad():
            return torch.cat([self._losses(w, batch) for batch in self._pieces(index, len(w))], dim=-1)

    def _count(self, index: Tensor | None) -> int:
        return self.data.n if index is None else len(index)

    def _pieces(self, index: Tensor | None, rows: int) -> Iterator[Batch]:
        size = max(1, self.memory // max(1, self.activation_bytes * rows))
        count = self._count(index)
        for start in range(0, count, size):
            stop = min(start + size, count)
            yield self.data.batch(slice(start, stop) if index is None else index[start:stop])

    def _losses(self, w: Tensor, batch: Batch) -> Tensor:
        parameters = self.layout.unflatten(w)
        if self.evaluation == "vmap":
            return vmap(self._one, in_dims=(0, None))(parameters, batch)
        rows = [{name: tensor[c] for name, tensor in parameters.items()} for c in range(len(w))]
        return torch.stack([self._one(row, batch) for row in rows])

    def _one(self, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        output = functional_call(self.model, parameters, batch.args, batch.kwargs)
        return self.loss(output, batch.target)

    def _check_loss(self) -> None:
        count = min(self.data.n, 64)
        batch = self.data.batch(slice(0, count))
        parameters = self.layout.unflatten(self.center)
        try:
            with torch.no_grad(), torch.random.fork_rng():  # one after the other, so that hidden randomness shows
                losses, again = self._one(parameters, batch), self._one(parameters, batch)
        except InputError:
            raise
        except Exception as error:  # whatever the user's model or loss raises
            said = (str(error).strip() or "no message").splitlines()[0]
            raise InputError(f"the model or the loss raised {type(error).__name__} on its data: {said}") from error
        if not isinstance(losses, Tensor) or losses.shape != (count,):
            got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InputError(
                f"loss(output, target) must return one loss per sample, shape ({count},), got {got}; "
                "use reduction='none' and average over everything but the samples"
            )
        if not torch.equal(losses, again) and losses.isfinite().all():
            raise InputError(
                "the loss is not deterministic: two evaluations at the same weights differ; "
                "switch off dropout and other randomness inside the model or the loss"
            )

    def _activation_bytes(self) -> int:
        """Bytes that autograd keeps per sample and chain, parameters not counted."""
        count = min(self.data.n, 4)
        w = self.center.clone().requires_grad_()
        weights = w.untyped_storage().data_ptr()
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() != weights:
                sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self._one(self.layout.unflatten(w), self.data.batch(slice(0, count)))
        return max(64, sum(sizes.values()) // count)

    def _choose(self, evaluation: str) -> str:
        if evaluation not in ("auto", "vmap", "loop"):
            raise InputError(f"evaluation must be 'auto', 'vmap' or 'loop', got {evaluation!r}")
        if evaluation != "auto":
            return evaluation
        batch = self.data.batch(slice(0, min(self.data.n, 2)))
        w = self.center.expand(2, -1).contiguous().requires_grad_()
        self.evaluation = "vmap"
        try:
            torch.autograd.grad(self._losses(w, batch).sum(), w)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            self.vmap_error = str(error).splitlines()[0]
            return "loop"
        return "vmap"
