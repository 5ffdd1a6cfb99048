"""Forward and backward passes compiled by torch's inductor."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from samplers.evaluation import Batch, Passes
from samplers.memory import is_out_of_memory

CONSTANTS = (int, float, bool, str, type(None))  # what may stand among the tensors of a batch, part of the program


class CompiledPasses:
    """Passes compiled on their first call for each shape, which takes seconds to a minute on a CPU.

    A pass is traced once into a graph of operations and that is compiled, without the checks of torch.compile that the
    graph still applies, which for a small model take as long as the pass: the engine calls it with the same model and
    the same kind of batch every time. A model that looks at its values to decide what to do cannot be traced.

    Where compiling fails (no C compiler, such a model, an operation that the compiler does not know) they return None
    from then on, and `remarks` say why. On CUDA they are CUDA graphs: such passes are bound by the starting of
    operations.
    """

    def __init__(self, passes: Passes):
        self._passes = passes
        self._graphs = passes.device.type == "cuda"
        self._compiled: dict[tuple, Callable[..., Any]] = {}
        self.remarks: list[str] = []
        self.failed = False

    def chains(self, w: Tensor, center: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor] | None:
        """Mean losses (C,), float64, and their gradients (C, d) at all rows of w at once; L(w*) (1,) at `center`."""
        return self._call(self._of_chains, w, center, batch.args, batch.kwargs, batch.target)

    def row(self, w: Tensor, batch: Batch, scale: Tensor) -> tuple[Tensor, Tensor] | None:
        """Sum of the losses (), float64, and `scale` times its gradient (d,) at one w (d,)."""
        return self._call(self._of_row, w, batch.args, batch.kwargs, batch.target, scale)

    def _of_row(self, w: Tensor, args: tuple, kwargs: dict, target: Any, scale: Tensor) -> tuple[Tensor, Tensor]:
        def total(w: Tensor) -> tuple[Tensor, Tensor]:
            losses = self._passes.at(w, args, kwargs, target)
            return scale * losses.sum(), losses.double().sum()

        gradient, (_, value) = grad_and_value(total, has_aux=True)(w)
        return value, gradient

    def _of_chains(
        self, w: Tensor, center: Tensor, args: tuple, kwargs: dict, target: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        def mean(w: Tensor) -> tuple[Tensor, Tensor]:
            losses = self._passes.at(w, args, kwargs, target)
            return losses.mean(), losses.double().mean()

        gradient, (_, value) = vmap(grad_and_value(mean, has_aux=True))(w)
        return value, gradient, self._passes.at(center, args, kwargs, target).double().mean()[None]

    def _call(self, function: Callable[..., tuple], *arguments: Any) -> Any:
        if self.failed:
            return None
        leaves, structure = tree_flatten(arguments)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = function.__name__, *(_kind(leaf) for leaf in leaves)
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()
        compiled = self._compiled.get(key) or self._compile(key, function, leaves, structure)
        if compiled is None:
            return None
        found = compiled(*tensors)
        return tuple(part.clone() for part in found) if self._graphs else tuple(found)  # a graph overwrites its results

    def _compile(self, key: tuple, function: Callable, leaves: list, structure: Any) -> Callable | None:
        from torch._inductor import compile as compile_graph
        from torch.fx.experimental.proxy_tensor import make_fx

        def flat(*tensors: Tensor) -> tuple:
            rest = iter(tensors)
            filled = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            return tuple(function(*tree_unflatten(filled, structure)))

        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        try:
            for leaf in leaves:
                if not isinstance(leaf, (Tensor, *CONSTANTS)):
                    raise TypeError(f"a batch of tensors is needed, not of {type(leaf).__name__}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice on how to compile better, meant for the author of the model
                # On tensors without values: what depends on values raises here, and cannot become part of the program.
                graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
                options: dict[str, Any] = {"triton.cudagraphs": True} if self._graphs else {}
                compiled = compile_graph(graph, list(tensors), options=options)
                compiled(*tensors)
        except Exception as error:  # whatever tracing, inductor or the C compiler raise
            if is_out_of_memory(error):
                raise
            said = (str(error).strip() or "no message").splitlines()[0]
            self.remarks.append(f"not compiled: {type(error).__name__}: {said}")
            self.failed = True
            return None
        self._compiled[key] = compiled
        return compiled


def _kind(leaf: Any) -> Any:
    """What of an argument is part of the compiled program."""
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype
    return leaf if isinstance(leaf, CONSTANTS) else type(leaf)
