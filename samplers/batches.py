"""The order in which a run visits its data."""

import torch
from torch import Tensor

from samplers.errors import InputError
from samplers.noise import data_generator


class Batches:
    """Minibatch indices without replacement, freshly shuffled every epoch.

    All chains share each minibatch. Where `batch_size` does not divide n the last few samples of an epoch's shuffle
    are left out, different ones each time, so that every batch has the same size. `batch_size=None` is the full data:
    `next()` then returns None.
    """

    def __init__(self, n: int, batch_size: int | None, seed: int):
        if batch_size is not None and not 1 <= batch_size <= n:
            raise InputError(f"batch_size must lie between 1 and n = {n}, got {batch_size}")
        self.n = n
        self.batch_size = None if batch_size == n else batch_size
        self._generator = data_generator(seed)
        self._order = torch.empty(0, dtype=torch.long)
        self._position = 0

    def next(self) -> Tensor | None:
        """Indices (batch_size,) of the next minibatch, or None for all the data."""
        if self.batch_size is None:
            return None
        if self._position + self.batch_size > len(self._order):
            self._order = torch.randperm(self.n, generator=self._generator)
            self._position = 0
        batch = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return batch

    def state(self) -> dict[str, object]:
        """What is needed to continue the order bit for bit."""
        return {"generator": self._generator.get_state(), "order": self._order, "position": self._position}

    def restore(self, state: dict) -> None:
        """Continue from a saved `state()`."""
        self._generator.set_state(state["generator"])
        self._order, self._position = state["order"], state["position"]
