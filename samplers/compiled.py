"""Forward and backward passes through torch.compile."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from samplers.evaluation import Batch, Passes
from samplers.memory import is_out_of_memory


class CompiledPasses:
    """Passes compiled on their first call for each shape, which takes ten seconds to a minute on a CPU.

    Where that fails (no C compiler, an operation that the compiler does not know) they return None from then on, and
    `remarks` say why. On CUDA they are CUDA graphs: such passes are bound by the starting of operations.
    """

    def __init__(self, passes: Passes):
        def row(w: Tensor, args: tuple, kwargs: dict, target: Any, scale: Tensor) -> tuple[Tensor, Tensor]:
            def total(w: Tensor) -> tuple[Tensor, Tensor]:
                losses = passes.at(w, args, kwargs, target)
                return scale * losses.sum(), losses.double().sum()

            gradient, (_, value) = grad_and_value(total, has_aux=True)(w)
            return value, gradient

        def chains(w: Tensor, center: Tensor, args: tuple, kwargs: dict, target: Any) -> tuple[Tensor, Tensor, Tensor]:
            def mean(w: Tensor) -> tuple[Tensor, Tensor]:
                losses = passes.at(w, args, kwargs, target)
                return losses.mean(), losses.double().mean()

            gradient, (_, value) = vmap(grad_and_value(mean, has_aux=True))(w)
            return value, gradient, passes.at(center, args, kwargs, target).double().mean()[None]

        self.remarks: list[str] = []
        self._graphs = passes.device.type == "cuda"
        mode = "reduce-overhead" if self._graphs else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts, which are imported here
            self._row: Callable = torch.compile(row, mode=mode, dynamic=False)
            self._chains: Callable = torch.compile(chains, mode=mode, dynamic=False)
        self._compiled: set[tuple] = set()
        self.failed = False

    def chains(self, w: Tensor, center: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor] | None:
        """Mean losses (C,), float64, and their gradients (C, d) at all rows of w at once; L(w*) (1,) at `center`."""
        return self._call("chains", self._chains, w, center, batch.args, batch.kwargs, batch.target)

    def row(self, w: Tensor, batch: Batch, scale: Tensor) -> tuple[Tensor, Tensor] | None:
        """Sum of the losses (), float64, and `scale` times its gradient (d,) at one w (d,)."""
        return self._call("row", self._row, w, batch.args, batch.kwargs, batch.target, scale)

    def _call(self, name: str, function: Callable, w: Tensor, *arguments: Any) -> Any:
        if self.failed:
            return None
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()
        key = name, tuple(w.shape)
        if key not in self._compiled and not self._compile(function, w, *arguments):
            return None
        self._compiled.add(key)
        found = function(w, *arguments)
        return tuple(part.clone() for part in found) if self._graphs else found  # a graph overwrites its results

    def _compile(self, function: Callable, *arguments: Any) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice on how to compile better, meant for the author of the model
                function(*arguments)
        except Exception as error:  # whatever dynamo, inductor or the C compiler raise
            if is_out_of_memory(error):
                raise
            said = (str(error).strip() or "no message").splitlines()[0]
            self.remarks.append(f"not compiled: torch.compile raised {type(error).__name__}: {said}")
            self.failed = True
        return not self.failed
