"""Randomness: generators for each chain, one for the order of the data, all derived from one seed.

A chain's noise depends on the seed and on the chain's index alone, so chains can be grouped into batches, or run one
by one, without changing what any of them draws. The global random state is never read or written.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NORMALS, _DATA, _UNIFORMS = 0, 1, 2  # first entry of the spawn key: what the stream is for
BLOCK_DRAWS = 64  # draws made at once, so that small models do not wait for the generators,
BLOCK_NUMBERS = 1 << 14  # while they are no more numbers per chain than this
THREADED_NUMBERS = 1 << 15  # per chain, from which chains are filled in parallel


def _generator(seed: int, purpose: int, index: int, device: torch.device) -> torch.Generator:
    state = np.random.SeedSequence(seed, spawn_key=(purpose, index)).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(state[0] >> np.uint64(1)))


def data_generator(seed: int) -> torch.Generator:
    """Generator (CPU) for the order in which the data are visited."""
    return _generator(seed, _DATA, 0, torch.device("cpu"))


class _Stream:
    """Random numbers of one kind, a generator for each chain.

    Draws come from blocks whose length depends on the size of a draw alone: blocks are part of what the stream *is*,
    since a generator gives other numbers when it is asked for more of them at once.
    """

    def __init__(self, generators: list[torch.Generator], fill: Callable[[Tensor, torch.Generator], Any]):
        self._generators, self._fill = generators, fill
        self._block: Tensor | None = None  # (draws, chains, ...), those before `_used` are spent
        self._used = 0

    def next(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """One draw per chain, (chains, *shape). A draw of another shape or dtype starts a new block."""
        shape = tuple(shape)
        block = self._block
        if block is None or block.shape[2:] != shape or block.dtype != dtype:
            block = self._block = self._draw(shape, dtype)
            self._used = 0
        self._used += 1
        if self._used == len(block):  # spent: not held beside the next one
            self._block = None
        return block[self._used - 1]

    def parts(self, shape: Sequence[int], dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """What `next` gives, as few chains at a time as there are threads where a draw is a block of its own."""
        chains, workers = len(self._generators), torch.get_num_threads()
        if torch.Size(shape).numel() <= BLOCK_NUMBERS // 2:
            yield slice(0, chains), self.next(shape, dtype)
            return
        self._block = None
        for first in range(0, chains, workers):
            rows = slice(first, min(first + workers, chains))
            yield rows, self._draw(tuple(shape), dtype, rows)[0]

    def _draw(self, shape: tuple[int, ...], dtype: torch.dtype, rows: slice = slice(None)) -> Tensor:
        numbers = torch.Size(shape).numel()
        draws = max(1, min(BLOCK_DRAWS, BLOCK_NUMBERS // max(1, numbers)))
        generators = self._generators[rows]
        device = generators[0].device
        block = torch.empty(len(generators), draws, *shape, dtype=dtype, device=device)
        if device.type == "cpu" and numbers >= THREADED_NUMBERS and torch.get_num_threads() > 1:
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                list(pool.map(self._fill, block, generators))
        else:
            for part, generator in zip(block, generators, strict=True):
                self._fill(part, generator)
        return block.transpose(0, 1).contiguous()

    def state(self) -> dict[str, Any]:
        block = None if self._block is None else self._block.cpu()
        return {"generators": [g.get_state() for g in self._generators], "block": block, "used": self._used}

    def restore(self, state: dict[str, Any]) -> None:
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved)
        block = state["block"]
        self._block = None if block is None else block.to(self._generators[0].device, copy=True)
        self._used = state["used"]


class ChainNoise:
    """Standard normals and uniforms for a batch of chains, streams of its own for each chain.

    `chains` are the indices of the chains in this batch (an int means 0..chains-1).
    """

    def __init__(self, seed: int, chains: int | Sequence[int], device: torch.device | str = "cpu"):
        device = torch.device(device)
        indices = range(chains) if isinstance(chains, int) else chains
        self._chains = len(indices)
        self._normals, self._uniforms = (
            _Stream([_generator(seed, purpose, index, device) for index in indices], fill)
            for purpose, fill in ((_NORMALS, _fill_normal), (_UNIFORMS, _fill_uniform))
        )

    def __len__(self) -> int:
        return self._chains

    def normal(self, like: Tensor) -> Tensor:
        """Standard normals, shape and dtype of `like` (chains, ...). The caller may overwrite them."""
        if len(like) > self._chains:
            raise ValueError(f"noise for {len(like)} chains was asked of {self._chains} streams")
        return self._normals.next(like.shape[1:], like.dtype)[: len(like)]

    def add_normal(self, x: Tensor, scale: float | Tensor) -> Tensor:
        """X (chains, ...) with scale · ξ added in place, ξ as `normal` gives it; `scale` a number or (chains, 1).

        Chains of many weights are done one by one: no second tensor of the size of x is made.
        """
        if isinstance(scale, Tensor) and scale.shape != (len(x), 1):
            return x.addcmul_(self.normal(x), scale)
        for rows, drawn in self._normals.parts(x.shape[1:], x.dtype):
            if isinstance(scale, Tensor):
                x[rows].addcmul_(drawn, scale[rows])
            else:
                x[rows].add_(drawn, alpha=scale)
        return x

    def uniform(self) -> Tensor:
        """One uniform on [0, 1) per chain, float64, shape (chains,)."""
        return self._uniforms.next((), torch.float64)

    def state(self) -> dict[str, Any]:
        """What is needed to continue each stream bit for bit."""
        return {"normals": self._normals.state(), "uniforms": self._uniforms.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved `state()`."""
        self._normals.restore(state["normals"])
        self._uniforms.restore(state["uniforms"])


def _fill_normal(out: Tensor, generator: torch.Generator) -> None:
    out.normal_(generator=generator)


def _fill_uniform(out: Tensor, generator: torch.Generator) -> None:
    out.uniform_(generator=generator)
