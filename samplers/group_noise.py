"""Randomness for many particles in few groups: a generator per group, all derived from one seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# First entry of the spawn key: what the stream is for. Kernels and their batches, which never run beside particles,
# count from 0 too.
_PARTICLES, _SHARED = 2, 3


class Draws:
    """Normals and uniforms for groups × size particles, float64, rows of a group side by side.

    What a group draws depends on the seed and on the group's index alone. The global random state is never touched.
    """

    def __init__(self, seed: int, groups: range, size: int):
        self.groups, self.size = len(groups), size
        self._shared = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SHARED,)))
        self._generators = []
        for group in groups:
            state = np.random.SeedSequence(seed, spawn_key=(_PARTICLES, group)).generate_state(1, np.uint64)
            self._generators.append(torch.Generator().manual_seed(int(state[0] >> np.uint64(1))))

    def normal(self, *shape: int) -> Tensor:
        """Standard normals (groups·size, *shape)."""
        out = torch.empty(self.groups, self.size, *shape, dtype=torch.float64)
        for part, generator in zip(out, self._generators, strict=True):
            part.normal_(generator=generator)
        return out.flatten(0, 1)

    def uniform(self, *shape: int) -> Tensor:
        """Uniforms on [0, 1), (groups·size, *shape)."""
        out = torch.empty(self.groups, self.size, *shape, dtype=torch.float64)
        for part, generator in zip(out, self._generators, strict=True):
            part.uniform_(generator=generator)
        return out.flatten(0, 1)

    def group_uniform(self) -> Tensor:
        """One uniform on [0, 1) for each group, (groups,)."""
        return torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in self._generators])

    def neighbours(self, dimension: int) -> slice:
        """A run of 2 to d/2 neighbouring coordinates, uniformly: one for all groups, whichever they are."""
        lengths = np.arange(2, dimension // 2 + 1)
        places = dimension + 1 - lengths
        length = int(self._shared.choice(lengths, p=places / places.sum()))
        start = int(self._shared.integers(dimension + 1 - length))
        return slice(start, start + length)
