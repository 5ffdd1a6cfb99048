"""Which samples each step of a run sees."""

import json

import numpy as np
import torch
from torch import Tensor

from samplers.errors import InputError

_BATCHES = 3  # first entry of the spawn key; samplers.noise has 0 to 2


class Batches:
    """Minibatches, each a random subset (no sample twice) drawn independently of all others.

    Independently, and not by going through a shuffled epoch: within an epoch a minibatch holds none of the samples that
    moved the chain just before, so that the loss it shows is not an unbiased look at where the chain is. On a deep
    linear network (300 weights, n = 50,000, minibatches of 256) that put E[L] 12% too high at a step size of plain
    SGLD, and 2% with control variates, on top of what the chain's own law is off by.

    All chains share each minibatch. `batch_size=None` is the full data: `next()` then returns None.
    """

    def __init__(self, n: int, batch_size: int | None, seed: int):
        if batch_size is not None and not 1 <= batch_size <= n:
            raise InputError(f"batch_size must lie between 1 and n = {n}, got {batch_size}")
        self.n = n
        self.batch_size = None if batch_size == n else batch_size
        self._generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BATCHES,)))

    def next(self) -> Tensor | None:
        """Indices (batch_size,) of the next minibatch, or None for all the data."""
        if self.batch_size is None:
            return None
        # In random order, so that the halves of a minibatch are random subsets too.
        return torch.from_numpy(self._generator.choice(self.n, self.batch_size, replace=False))

    def state(self) -> dict[str, str]:
        """What is needed to continue the draws bit for bit."""
        return {"generator": json.dumps(self._generator.bit_generator.state)}

    def restore(self, state: dict) -> None:
        """Continue from a saved `state()`."""
        self._generator.bit_generator.state = json.loads(state["generator"])
