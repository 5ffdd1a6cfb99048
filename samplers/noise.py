"""Randomness: one generator per chain, one for the order of the data, all derived from one seed.

A chain's noise depends on the seed and on the chain's index alone, so chains can be grouped into batches, or run one
by one, without changing what any of them draws. The global random state is never read or written.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_CHAINS, _DATA = 0, 1  # first entry of the spawn key: what the stream is for


def _generator(seed: int, purpose: int, index: int, device: torch.device) -> torch.Generator:
    state = np.random.SeedSequence(seed, spawn_key=(purpose, index)).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(state[0] >> np.uint64(1)))


def data_generator(seed: int) -> torch.Generator:
    """Generator (CPU) for the order in which the data are visited."""
    return _generator(seed, _DATA, 0, torch.device("cpu"))


class ChainNoise:
    """Standard normals and uniforms for a batch of chains, a stream of its own for each chain.

    `chains` are the indices of the chains in this batch (an int means 0..chains-1).
    """

    def __init__(self, seed: int, chains: int | Sequence[int], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        indices = range(chains) if isinstance(chains, int) else chains
        self._generators = [_generator(seed, _CHAINS, index, self.device) for index in indices]

    def __len__(self) -> int:
        return len(self._generators)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normals, shape and dtype of `like` (chains, ...)."""
        out = torch.empty_like(like)
        for row, generator in zip(out, self._generators, strict=True):
            row.normal_(generator=generator)
        return out

    def uniform(self) -> Tensor:
        """One uniform on [0, 1) per chain, float64, shape (chains,)."""
        out = torch.empty(len(self), dtype=torch.float64, device=self.device)
        for row, generator in zip(out, self._generators, strict=True):
            row.uniform_(generator=generator)
        return out

    def state(self) -> list[Tensor]:
        """What is needed to continue each stream bit for bit."""
        return [generator.get_state() for generator in self._generators]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Continue from a saved `state()`."""
        for generator, saved in zip(self._generators, state, strict=True):
            generator.set_state(saved)
