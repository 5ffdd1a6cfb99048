"""A network's parameters as one flat vector, and back."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParameterLayout:
    """Names and shapes of the parameters that make up a flat vector of length d, in order."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @classmethod
    def of(cls, named: Iterable[tuple[str, Tensor]]) -> "ParameterLayout":
        """Layout of the given (name, tensor) pairs."""
        names, tensors = zip(*named, strict=True)
        return cls(tuple(names), tuple(tensor.shape for tensor in tensors))

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each parameter."""
        return [shape.numel() for shape in self.shapes]

    @property
    def dimension(self) -> int:
        """d, the length of the flat vector."""
        return sum(self.sizes)

    def flatten(self, tensors: dict[str, Tensor]) -> Tensor:
        """The flat vector (d,) of a dict of parameters."""
        return torch.cat([tensors[name].reshape(-1) for name in self.names])

    def unflatten(self, w: Tensor) -> dict[str, Tensor]:
        """Views of `w` (..., d) by name, each (..., *shape).

        One split, so that the backward pass writes the gradient once instead of once per parameter.
        """
        parts = torch.split(w, self.sizes, dim=-1)
        return {
            name: part.view(*w.shape[:-1], *shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }
