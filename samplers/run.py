"""The run loop: chains × draws -> Trace."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplers.batches import Batches
from samplers.kernel import Info, Kernel
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.trace import Trace


class Run:
    """Chains in progress: positions, randomness and the order of the data, advanced block by block.

    Chains are independent rows, so one that turns non-finite spoils only itself; `alive` tells which are still
    finite.
    """

    def __init__(
        self,
        posterior: LocalPosterior,
        kernel: Kernel,
        position: Tensor,
        *,
        noise: ChainNoise,
        batches: Batches,
    ):
        self.posterior, self.kernel = posterior, kernel
        self.noise, self.batches = noise, batches
        self.state: Any = kernel.init(posterior, position)
        self.steps = 0

    @property
    def position(self) -> Tensor:
        """Where the chains are, (C, d)."""
        return self.state.position

    @property
    def alive(self) -> np.ndarray:
        """Which chains are at finite weights, (C,) bool."""
        return self.position.isfinite().all(-1).cpu().numpy()

    def use(self, kernel: Kernel, posterior: LocalPosterior | None = None) -> None:
        """Go on from here with another kernel, or another temperature."""
        self.posterior = posterior or self.posterior
        self.kernel = kernel
        self.state = kernel.init(self.posterior, self.position)

    def step(self) -> Info:
        """One step of the kernel."""
        self.state, info = self.kernel.step(self.posterior, self.state, self.batches.next(), self.noise)
        self.steps += 1
        return info

    def advance(self, draws: int, thin: int = 1) -> Trace:
        """`draws` recorded draws, one every `thin` steps."""
        rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for _ in range(draws):
            for _ in range(thin - 1):
                self.step()
            start = self.position
            info = self.step()
            where = self.position if info.acceptance is not None else start
            distance = self.posterior.displacement(where).square().sum(-1, dtype=torch.float64)
            acceptance = torch.full_like(info.loss, torch.nan) if info.acceptance is None else info.acceptance
            rows.append((info.loss, info.center_loss, distance, acceptance))
        columns = [torch.stack(column, dim=1).cpu().numpy() for column in zip(*rows, strict=True)]
        return Trace(loss=columns[0], center_loss=columns[1], distance=columns[2], acceptance=columns[3])
