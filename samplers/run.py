"""The run loop: chains × draws -> Trace."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from samplers.batches import Batches
from samplers.kernel import Info, Kernel
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.trace import Trace


class Run:
    """Chains in progress: positions, randomness and the order of the data, advanced block by block.

    A chain whose weights turn non-finite is frozen: it stays at its last finite position, and its losses are NaN from
    there on. Chains are independent rows, so the others go on with the very bits they would have had without it.
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
        self.frozen = torch.zeros(len(position), dtype=torch.bool, device=position.device)
        self.steps = 0
        self._any_frozen = False
        self._measured: tuple[Tensor, Tensor] | None = None

    @property
    def position(self) -> Tensor:
        """Where the chains are, (C, d)."""
        return self.state.position

    @property
    def alive(self) -> np.ndarray:
        """Which chains are at finite weights, (C,) bool."""
        return (self._distance().isfinite() & ~self.frozen).cpu().numpy()

    def freeze(self, chains: Tensor) -> None:
        """Freeze chains, (C,) bool, where they are."""
        self.frozen = self.frozen | chains
        self._any_frozen = bool(self.frozen.any())

    def use(self, kernel: Kernel, posterior: LocalPosterior | None = None) -> None:
        """Go on from here with another kernel, or another temperature."""
        self.posterior = posterior or self.posterior
        self.kernel = kernel
        self.state = kernel.init(self.posterior, self.position)

    def step(self) -> Info:
        """One step of the kernel."""
        before = self.state
        self.state, info = self.kernel.step(self.posterior, before, self.batches.next(), self.noise)
        self.steps += 1
        if self._any_frozen or not math.isfinite(self._distance().sum().item()):
            self.freeze(~self._distance().isfinite())
            self._put_back(before)
            info = info._replace(loss=info.loss.masked_fill(self.frozen, torch.nan))
        return info

    def advance(self, draws: int, thin: int = 1) -> Trace:
        """`draws` recorded draws, one every `thin` steps."""
        rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        radial: list[Tensor] = []
        unknown = torch.full_like(self._distance(), torch.nan)
        for _ in range(draws):
            for _ in range(thin - 1):
                self.step()
            distance = self._distance()
            info = self.step()
            if info.acceptance is not None:  # losses of corrected kernels are those after the step
                distance = self._distance()
            rows.append(
                (info.loss, info.center_loss, distance, unknown if info.acceptance is None else info.acceptance)
            )
            if info.radial is not None:
                radial.append(info.radial)
        columns = [torch.stack(column, dim=1).cpu().numpy() for column in zip(*rows, strict=True)]
        return Trace(
            loss=columns[0],
            center_loss=columns[1],
            distance=columns[2],
            acceptance=columns[3],
            radial=torch.stack(radial, dim=1).cpu().numpy() if radial else None,
        )

    def _distance(self) -> Tensor:
        """|w - w*|² where the chains are, float64 (C,), computed once per position; not finite where w is not."""
        w = self.position
        if self._measured is None or self._measured[0] is not w:
            self._measured = w, self.posterior.distance(w)
        return self._measured[1]

    def _put_back(self, before: Any) -> None:
        """The rows of frozen chains as they were before the step."""

        def keep(new: Any, old: Any) -> Any:
            if not isinstance(new, Tensor) or new.ndim == 0 or len(new) != len(self.frozen):
                return new
            return torch.where(self.frozen.view(-1, *(1,) * (new.ndim - 1)), old, new)

        self.state = tree_map(keep, self.state, before)
