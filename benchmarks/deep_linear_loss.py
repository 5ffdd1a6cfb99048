"""A deep linear network under minibatches of their own for many replicates: the target of the sampler benchmark."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samplers.posterior import LocalPosterior

N, WIDTH, LAYERS, RANK = 50_000, 10, 3, 3
CHAINS = 8  # of each replicate


class DeepLinear:
    """L(w) = mean of ½ |W₃W₂W₁x - y|², from second moments of the samples: a minibatch costs a few small products.

    Rows are chains of `replicates` replicates, in blocks; a minibatch `index` is (size, replicates), one for each.
    """

    dimension = LAYERS * WIDTH**2

    def __init__(self, seed: int = 1):
        generator = torch.Generator().manual_seed(seed)
        layer = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
        layer[range(RANK), range(RANK)] = 1.0
        self.center = layer.flatten().repeat(LAYERS)
        self.x = torch.randn(N, WIDTH, generator=generator, dtype=torch.float64)
        self.y = self.x @ layer.T + torch.randn(N, WIDTH, generator=generator, dtype=torch.float64)
        self._all = self._moments(self.x[:, None], self.y[:, None])

    @staticmethod
    def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """xxᵀ, yxᵀ and |y|², averaged over the first axis: (replicates, ...)."""
        x, y = x.transpose(0, 1), y.transpose(0, 1)
        count = x.shape[1]
        return x.mT @ x / count, y.mT @ x / count, y.square().sum((1, 2)) / count

    def _of_rows(self, index: Tensor | None, rows: int) -> tuple[Tensor, ...]:
        if index is None:
            return self._all
        moments = self._moments(self.x[index], self.y[index])
        replicates = index.shape[1]
        chains = rows // replicates  # with control variates the rows of the centres follow those of the chains
        extra = rows - CHAINS * replicates if chains > CHAINS else 0
        each = min(chains, CHAINS)
        return tuple(torch.cat([part.repeat_interleave(each, 0), part[:extra]]) for part in moments)

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        return self.value_and_grad(w, index)[0]

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        xx, yx, yy = self._of_rows(index, len(w))
        first, second, third = w.detach().reshape(-1, LAYERS, WIDTH, WIDTH).unbind(1)
        below = second @ first
        product = third @ below
        residual = product @ xx - yx
        loss = 0.5 * ((product * (residual - yx)).sum((1, 2)) + yy)
        above = third.mT @ residual
        gradient = torch.stack([second.mT @ above, above @ first.mT, residual @ below.mT], dim=1)
        return loss, gradient.flatten(1)


class ReplicateBatches:
    """Independent minibatches, one for each replicate."""

    def __init__(self, size: int | None, replicates: int, seed: int):
        self.size, self.replicates = size, replicates
        self._generator = torch.Generator().manual_seed(seed)

    def next(self) -> Tensor | None:
        if self.size is None:
            return None
        return torch.randint(N, (self.size, self.replicates), generator=self._generator)


def posterior_of(loss: DeepLinear, gamma: float, replicates: int) -> LocalPosterior:
    """Every replicate has a centre of its own, the same one, so that its control variates are its own."""
    owner = torch.arange(replicates).repeat_interleave(CHAINS)
    center = loss.center.expand(replicates, -1).contiguous()
    return LocalPosterior(loss, center, n=N, beta=1 / math.log(N), gamma=gamma, owner=owner)
