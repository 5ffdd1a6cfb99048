"""Chains at twice the step on the same randomness: what a kernel without rejection is off by, measured."""

from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from samplers.batches import Batches
from samplers.kernel import Kernel
from samplers.noise import ChainNoise
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.sgnht import SGNHT, SGNHTState
from samplers.trace import Trace


@dataclass(frozen=True)
class Start:
    """Where the first chains of a run stood, with their randomness and the order of the data: enough to go the same
    way again.
    """

    state: Any
    noise: dict[str, Any]
    batches: dict[str, Any]
    chains: int

    @classmethod
    def of(cls, run: Run, chains: int) -> "Start":
        """The first `chains` chains of a run as it stands."""
        total = len(run.position)

        def rows(part: Any) -> Any:
            if not isinstance(part, Tensor):
                return part
            return part[:chains].clone() if part.ndim and len(part) == total else part.clone()

        return cls(tree_map(rows, run.state), _first(run.noise.state(), chains), run.batches.state(), chains)


def _first(noise: dict[str, Any], chains: int) -> dict[str, Any]:
    """The state of the first chains' streams; a copy, for a block that is in use is spent in place."""

    def stream(state: dict[str, Any]) -> dict[str, Any]:
        block = state["block"]
        return {
            "generators": state["generators"][:chains],
            "block": None if block is None else block[:, :chains].clone(),
            "used": state["used"],
        }

    return {name: stream(state) for name, state in noise.items()}


class _Pairs(ChainNoise):
    """Normals that are the sums of two successive ones of the run, over √2."""

    def __init__(self, start: Start, device: torch.device):
        super().__init__(0, start.chains, device)
        self.restore(start.noise)

    def single(self, like: Tensor) -> Tensor:
        """One normal of the run itself."""
        return super().normal(like)

    def normal(self, like: Tensor) -> Tensor:
        """(ξ₁ + ξ₂)/√2."""
        first = super().normal(like).clone()
        return first.add_(super().normal(like)).mul_(0.5**0.5)

    def add_normal(self, x: Tensor, scale: float | Tensor) -> Tensor:
        """X + scale · (ξ₁ + ξ₂)/√2, in place."""
        part = scale * 0.5**0.5
        return super().add_normal(super().add_normal(x, part), part)


class _EverySecond(Batches):
    """The first of every two minibatches of the run."""

    def next(self) -> Tensor | None:
        """The minibatch of the first of two steps; that of the second is passed over."""
        first = super().next()
        super().next()
        return first


def coarser(kernel: Kernel) -> Kernel | None:
    """The kernel that goes twice as far in time per step; None for one that has no `step_size` to change.

    A Langevin step of 2ε. With momentum c, slow directions move as by Langevin steps of ε (1 + c)/(1 - c), and it is
    this that doubles, with momentum c², so that the friction per unit of time stays: ε' = 2ε (1 + c)²/(1 + c²). The
    bias of gradient noise, proportional to the same ε (1 + c)/(1 - c), doubles in either case.
    """
    if isinstance(kernel, (SGHMC, SGNHT)):
        c = kernel.momentum
        slower = replace(kernel, step_size=kernel.step_size * (2 * (1 + c) ** 2 / (1 + c * c)), momentum=c * c)
        return replace(slower, response=2 * slower.response) if isinstance(slower, SGNHT) else slower
    if not is_dataclass(kernel) or not hasattr(kernel, "step_size"):
        return None
    return replace(kernel, step_size=2 * kernel.step_size)


def shadow(run: Run, start: Start, draws: int, thin: int) -> tuple[Trace, np.ndarray]:
    """Chains at twice the step, over the `draws` draws that the run has recorded since `start`, one every `thin` steps.

    They start where the run's chains did and see the sums of their noises and the first of every two of their
    minibatches, so that they stay close and the difference of two losses on one minibatch shows little but what the
    step does (the coupling of multilevel Monte Carlo: Giles 2015; for Langevin dynamics, Giles et al. 2020). Returned
    are the draws of these chains that have a counterpart in the run, and which draws of the run those are.

    At half the gradients of the run, for each chain.
    """
    kernel = coarser(run.kernel)
    if kernel is None:
        raise ValueError("a kernel without a step size has no coarser one")
    device = run.position.device
    noise = _Pairs(start, device)
    batches = _EverySecond(run.batches.n, run.batches.batch_size, 0)
    batches.restore(start.batches)
    state = tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, start.state)
    if isinstance(state, SGNHTState):
        state = state._replace(friction=2 * state.friction)  # per step, and steps are twice as long
    chains = Run(run.posterior, kernel, state.position, noise=noise, batches=batches)
    chains.state = state
    steps, late = draws * thin, (thin - 1) % 2
    if late:  # a step of the run is recorded where its pair begins
        Batches.next(batches)
        noise.single(state.position)
    trace = chains.advance((steps - late) // 2)
    when = late + 2 * np.arange(trace.loss.shape[1])  # the run's steps on whose minibatches the losses were taken
    paired = np.flatnonzero((when + 1) % thin == 0)
    kept = Trace(*(getattr(trace, name)[:, paired] for name in ("loss", "center_loss", "distance", "acceptance")))
    return kept, (when[paired] + 1) // thin - 1
