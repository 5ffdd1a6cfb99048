"""What the samplers see of a model: its mean loss, and the gradient of that, for a batch of weight vectors."""

import copy
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from samplers.compiled import CompiledPasses
from samplers.errors import InputError
from samplers.evaluation import Batch, Passes, PerSampleLoss
from samplers.memory import MemoryBudget
from samplers.parameters import ParameterLayout

EVALUATIONS = ("auto", "vmap", "loop", "compile")


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
        """L (C,), float64, and its gradient (C, d) at each row of w: fresh tensors, which the caller may overwrite."""
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
        return value.detach().double(), gradient.contiguous()  # that of a sum is one number seen d times


class ModuleLoss:
    """Mean loss of an nn.Module on data, for C weight vectors at once.

    The model is copied once (the caller's is never touched), put into eval mode, on `device` and in `dtype`.
    Parameters that require a gradient are the coordinates of w; if none does, all are. `evaluation`: 'vmap' (all
    chains in one pass), 'loop' (one after the other), 'auto' (whichever the counts of `samplers.evaluation` favour;
    a loop where the model cannot be vmapped), or 'compile' (as auto, and through torch.compile once `settle` is
    called). With `amp` the passes run in bfloat16 autocast, the weights stay in `dtype`. Activations are held for
    pieces of at most `memory` bytes; where that is still too much the pieces are halved, and `remarks` say so.

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
        amp: bool = False,
        memory: int = 1 << 30,
    ):
        if evaluation not in EVALUATIONS:
            raise InputError(f"evaluation must be one of {', '.join(EVALUATIONS)}, got {evaluation!r}")
        self.model = copy.deepcopy(model).eval().to(device=device, dtype=dtype)
        self.loss, self.data = loss, data
        trained = [item for item in self.model.named_parameters() if item[1].requires_grad]
        named = trained or list(self.model.named_parameters())
        if not named:
            raise InputError("the model has no parameters to sample")
        self.layout = ParameterLayout.of(named)
        self.dimension = self.layout.dimension
        self.center = self.layout.flatten(dict(named)).detach()
        for name, part in self.layout.unflatten(self.center).items():
            self.model.get_parameter(name).data = part  # not held twice
        self.model.requires_grad_(False)
        self.budget = MemoryBudget(memory)
        self._passes = Passes(self.model, self.layout, loss, amp)
        self._check_loss()
        self.activation_bytes = self._activation_bytes()
        self._choose(evaluation)
        self._form = ""
        self._compiled: CompiledPasses | None = None
        self._compiled_full = False
        self._fetched: tuple[Tensor, Batch] | None = None
        self._paired: tuple[Tensor | None, Tensor] | None = None  # a minibatch, and L(w*) on it
        self._is_center: tuple[Tensor, bool] | None = None
        self._elsewhere: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    @property
    def evaluation(self) -> str:
        """How several chains were last evaluated: 'vmap' or 'loop', with '+compile' where compiled."""
        compiled = self._compiled is not None and not self._compiled.failed
        return self._form + ("+compile" if compiled else "")

    @property
    def remarks(self) -> list[str]:
        """What did not go as planned, in words."""
        return [*self.budget.remarks, *(self._compiled.remarks if self._compiled else ())]

    @property
    def flops(self) -> float:
        """Arithmetic of a forward and backward pass per sample and chain, as torch counts it; 0 where it was not."""
        return self._passes.flops

    @property
    def joinable(self) -> bool:
        """Whether rows of another model of the same kind can be evaluated here: nothing but w tells the two apart."""
        only_w = len(list(self.model.parameters())) == len(self.layout.names) and not list(self.model.buffers())
        return only_w and self._passes.together(2, self.data.n)

    def join(self, ask: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        """From here on `ask` evaluates several chains on all the data, as `value_and_grad` would."""
        self._elsewhere = ask

    def settle(self, full_data: bool) -> None:
        """From here on evaluations of the same shape recur, on all the data or on minibatches: compile those.

        Only those, so that what was computed once before (a loss or gradient at w* on all the data) has the same bits
        when an interrupted run computes it again.
        """
        self._compiled, self._compiled_full = CompiledPasses(self._passes), full_data

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        """L at each row of w (C, d) on the samples `index` (None: all), float64 (C,)."""
        if self._paired is not None and index is not None and self._paired[0] is index and self._at_center(w):
            return self._paired[1]

        def work() -> Tensor:
            total = torch.zeros(len(w), dtype=torch.float64, device=w.device)
            for batch, rows in self._pieces(index, len(w)):
                total[rows] += self._passes.value(w[rows], batch)
            return total / self._count(index)

        return self.budget.within(work, self._whole(index, len(w)))

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """L (C,), float64, and its gradient (C, d) at each row of w."""
        w = w.detach()
        if self._elsewhere is not None and index is None and len(w) > 1:
            self._form = "vmap"
            return self._elsewhere(w)
        compiled = self._compiled if self._compiled_full is (index is None) else None
        compiled = None if compiled is None or compiled.failed else compiled
        together = self._passes.together(len(w), self._count(index), compiled is not None)
        if len(w) > 1:
            self._form = "vmap" if together else "loop"
        if compiled and together and self._whole(index, len(w)) <= self.budget.size:
            # One call for all that a step needs of the minibatch, L(w*) included: starting a call is what costs.
            batch = self._fetch(index, slice(0, self._count(index)), self._count(index))
            found = compiled.chains(w, self.center, batch)
            if found is not None:
                self._paired = index, found[2]
                return found[0], found[1]

        def work() -> tuple[Tensor, Tensor]:
            count = self._count(index)
            total = torch.zeros(len(w), dtype=torch.float64, device=w.device)
            gradient = torch.empty_like(w, memory_format=torch.contiguous_format)
            first: Batch | None = None
            for batch, rows in self._pieces(index, len(w)):
                first = first or batch
                add = batch is not first
                found = None
                if compiled and rows.stop - rows.start == 1:
                    scale = torch.full((), 1 / count, dtype=w.dtype, device=w.device)
                    found = compiled.row(w[rows.start], batch, scale)
                if found is None:
                    total[rows] += self._passes.gradient(w[rows], batch, 1 / count, gradient[rows], add)
                    continue
                total[rows] += found[0]
                gradient[rows.start] = gradient[rows.start] + found[1] if add else found[1]
            return total / count, gradient

        return self.budget.within(work, self._whole(index, len(w)))

    def _at_center(self, w: Tensor) -> bool:
        if self._is_center is None or self._is_center[0] is not w:
            self._is_center = w, w.shape == (1, self.dimension) and torch.equal(w[0], self.center)
        return self._is_center[1]

    def per_sample(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        """Loss of every sample at each row of w, (C, samples)."""
        with torch.no_grad():
            found: dict[int, list[Tensor]] = {}
            for batch, rows in self._pieces(index, len(w)):
                found.setdefault(rows.start, []).append(self._passes.losses(w[rows], batch))
            return torch.cat([torch.cat(parts, dim=-1) for parts in found.values()])

    def _count(self, index: Tensor | None) -> int:
        return self.data.n if index is None else len(index)

    def _whole(self, index: Tensor | None, rows: int) -> int:
        return self.activation_bytes * rows * self._count(index)

    def _pieces(self, index: Tensor | None, rows: int) -> Iterator[tuple[Batch, slice]]:
        """Batches and the rows to evaluate on them, each small enough for the memory budget."""
        count = self._count(index)
        together = rows if self._passes.together(rows, count) else 1
        batch: Batch | None = None
        begun = -1
        for samples, piece in self.budget.pieces(rows, count, self.activation_bytes, together):
            if batch is None or samples.start != begun:
                batch, begun = self._fetch(index, samples, count), samples.start
            yield batch, piece

    def _fetch(self, index: Tensor | None, samples: slice, count: int) -> Batch:
        """The samples of a piece. A whole minibatch is kept until the next: the loss at w* is taken on the same."""
        if index is None:
            return self.data.batch(samples)
        if samples != slice(0, count):
            return self.data.batch(index[samples])
        if self._fetched is None or self._fetched[0] is not index:
            self._fetched = index, self.data.batch(index)
        return self._fetched[1]

    def _check_loss(self) -> None:
        count = min(self.data.n, 64)
        batch = self.data.batch(slice(0, count))
        parameters = self.layout.unflatten(self.center)
        try:
            with torch.no_grad(), torch.random.fork_rng():  # one after the other, so that hidden randomness shows
                losses, again = self._passes.one(parameters, batch), self._passes.one(parameters, batch)
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
        kept: dict[int, Tensor] = {}

        def pack(
            tensor: Tensor,
        ) -> None:  # nothing for the backward pass, which never comes: it would hold w in a cycle
            if tensor.untyped_storage().data_ptr() != weights:
                kept[tensor.data_ptr()] = tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing):
            losses = self._passes.one(self.layout.unflatten(w), self.data.batch(slice(0, count)))
        if not losses.requires_grad:
            raise InputError(
                "the loss has no gradient with respect to the weights: the model or the loss detaches its output, runs "
                "under no_grad or rounds (argmax): return a loss that autograd can go back from"
            )
        return max(64, sum(part.numel() * part.element_size() for part in kept.values()) // count)

    def _choose(self, evaluation: str) -> None:
        if evaluation in ("vmap", "loop"):
            self._passes.vmappable = evaluation == "vmap"
            return
        count = min(self.data.n, 2)
        batch = self.data.batch(slice(0, count))
        self._passes.try_vmap(self.center, batch)
        self._passes.count(self.center, batch, count)
