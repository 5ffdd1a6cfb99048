"""A ladder of inverse temperatures as rows of one batch, with replica exchange; its bottom rung is drawn exactly."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from samplers.batches import Batches
from samplers.errors import InputError
from samplers.kernel import Kernel
from samplers.ladder_trace import LadderTrace
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior

KernelAt = Callable[[Tensor], Kernel]
"""Step sizes (C,) of the rows -> the kernel that moves them."""

TARGET_REJECTION = 0.4  # of an exchange: half would carry replicas fastest (Syed et al. 2022), less gives more overlap


@dataclass(frozen=True)
class Ladder:
    """Rungs β_0 = 0 < β_1 < ... < β_R, and the step size of each rung above the bottom one.

    Raises InputError where the rungs do not ascend from 0.
    """

    beta: np.ndarray  # (R + 1,)
    step_size: np.ndarray  # (R,)

    def __post_init__(self) -> None:
        if len(self.beta) < 2 or self.beta[0] != 0 or not (np.diff(self.beta) > 0).all():
            raise InputError(f"a ladder ascends from beta = 0 in at least one step, got {self.beta}")
        if self.step_size.shape != (len(self.beta) - 1,):
            raise InputError(
                f"a ladder of {len(self.beta) - 1} rungs above 0 needs as many step sizes, got {len(self.step_size)}"
            )

    @property
    def rungs(self) -> int:
        """R, the number of rungs above β = 0."""
        return len(self.beta) - 1


class ReplicaExchange:
    """Independent replicas of a ladder in progress: chains at every rung, and exchanges between neighbouring rungs.

    A sweep moves all rows of the upper rungs by `steps` steps of the kernel, draws the bottom rung afresh from the
    localizing Gaussian, and proposes exchanges between rungs (0,1), (2,3), ... or (1,2), (3,4), ... in turn
    (deterministic even-odd scheme, Okabe et al. 2001; Syed et al. 2022), accepted with probability
    min(1, exp(n (β' - β) (L' - L))), β < β'. At the bottom every exchange brings an independent draw, so a chain that
    is stuck above is sooner or later replaced: the ladder regenerates. Rows are ordered rung by rung: row (k-1) M + m
    is rung k of replica m.

    With a kernel that sees minibatches the exchanges still use the loss of all the data.

    `position` is (R M, d). Raises InputError where its rows do not fit, or for several centres.
    """

    def __init__(
        self,
        posterior: LocalPosterior,
        kernel_at: KernelAt,
        ladder: Ladder,
        position: Tensor,
        *,
        noise: ChainNoise,
        bottom_noise: ChainNoise,
        batches: Batches,
        steps: int = 1,
    ):
        if posterior.owner is not None or posterior.gamma.ndim:
            raise InputError("a ladder has one centre and one gamma: run one ladder for each")
        self.replicas = len(bottom_noise)
        if len(position) != ladder.rungs * self.replicas or len(noise) != len(position):
            raise InputError(
                f"a ladder of {ladder.rungs} rungs and {self.replicas} replicas needs "
                f"{ladder.rungs * self.replicas} positions and noises, got {len(position)} and {len(noise)}"
            )
        self.kernel_at, self.ladder, self.steps = kernel_at, ladder, steps
        self.noise, self.bottom_noise, self.batches = noise, bottom_noise, batches
        device = position.device
        beta = torch.as_tensor(ladder.beta, device=device)
        self._rise = posterior.n * (beta[1:] - beta[:-1])[:, None]  # (R, 1), n Δβ
        self.posterior = posterior.tempered(beta[1:].repeat_interleave(self.replicas))
        self.bottom = posterior.tempered(0.0)
        self.use_step_sizes(ladder.step_size)
        self.state = self.kernel.init(self.posterior, position)
        self.sweeps = 0
        # A replica is climbing from when it enters the bottom rung until it reaches the top.
        self._climbing = torch.zeros(len(position), dtype=torch.bool, device=device)
        self.round_trips = torch.zeros(self.replicas, dtype=torch.long, device=device)

    @property
    def position(self) -> Tensor:
        """Where the rows of the upper rungs are, (R M, d)."""
        return self.state.position

    def at_rung(self, k: int) -> Tensor:
        """Positions of the replicas at rung k >= 1, (M, d)."""
        return self.position[(k - 1) * self.replicas : k * self.replicas]

    def use_step_sizes(self, step_size: np.ndarray) -> None:
        """Go on with other step sizes of the rungs, (R,)."""
        self.ladder = replace(self.ladder, step_size=step_size)
        rows = torch.as_tensor(step_size, device=self.bottom.centers.device).repeat_interleave(self.replicas)
        self.kernel = self.kernel_at(rows)

    def sweep(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Move, record, exchange.

        Returns L and |w - w*|² of every rung before the exchanges, (R + 1, M), the mean acceptance of the moves
        (R, M), NaN where the kernel has none, and the probabilities of the exchanges between rungs k and k+1 (R, M),
        all of them, proposed or not.
        """
        acceptance: Tensor | None = None
        for _ in range(self.steps):
            self.state, info = self.kernel.step(self.posterior, self.state, self.batches.next(), self.noise)
            if info.acceptance is not None:
                acceptance = info.acceptance if acceptance is None else acceptance + info.acceptance
        shape = (self.ladder.rungs, self.replicas)
        fresh = self.kernel.init(self.bottom, self.bottom.draw_localizer(self.replicas, self.bottom_noise))
        if self.kernel.full_data:
            upper, lower = info.loss, fresh.loss
        else:
            upper, lower = (self.bottom.loss.value(state.position) for state in (self.state, fresh))
        loss = torch.cat([lower, upper]).reshape(shape[0] + 1, shape[1])
        distance = torch.cat(
            [
                self.bottom.displacement(state.position).square().sum(-1, dtype=torch.float64)
                for state in (fresh, self.state)
            ]
        ).reshape(loss.shape)
        log_ratio = torch.nan_to_num(self._rise * (loss[1:] - loss[:-1]), nan=-torch.inf, neginf=-torch.inf)
        probability = log_ratio.clamp(max=0).exp()
        self._exchange(fresh, probability)
        self.sweeps += 1
        if acceptance is None:
            acceptance = torch.full_like(upper, torch.nan)
        return loss, distance, (acceptance / self.steps).reshape(shape), probability

    def _exchange(self, fresh: Any, probability: Tensor) -> None:
        rungs, replicas = probability.shape
        pairs = torch.arange(rungs, device=probability.device)[:, None]
        proposed = pairs % 2 == self.sweeps % 2
        accepted = proposed & (self.noise.uniform().reshape(rungs, replicas) < probability)
        # Row of the stacked (bottom, upper) states that each upper row holds afterwards.
        source = torch.arange((rungs + 1) * replicas, device=probability.device).reshape(rungs + 1, replicas)
        lower, upper = source[:-1].clone(), source[1:].clone()
        source[1:] = torch.where(accepted, lower, source[1:])
        source[:-1] = torch.where(accepted, upper, source[:-1])
        rows = source[1:].flatten()

        def permuted(bottom: Any, top: Any) -> Any:
            """What belongs to rows moves with them; what all rows share stays."""
            both = isinstance(bottom, Tensor) and isinstance(top, Tensor)
            if not (both and top.ndim and len(top) == rungs * replicas):
                return top
            return torch.cat([bottom, top])[rows]

        self.state = tree_map(permuted, fresh, self.state)
        climbing = torch.cat([torch.ones_like(self._climbing[:replicas]), self._climbing])[rows]
        arrived = climbing[-replicas:].clone()
        climbing[-replicas:] = False
        self._climbing = climbing
        self.round_trips += arrived

    def advance(self, draws: int) -> LadderTrace:
        """`draws` sweeps, recorded."""
        rows = [self.sweep() for _ in range(draws)]
        loss, distance, acceptance, probability = (
            torch.stack(column).cpu().numpy() for column in zip(*rows, strict=True)
        )
        return LadderTrace(
            loss=loss.transpose(2, 0, 1),
            distance=distance.transpose(2, 0, 1),
            acceptance=acceptance.mean((0, 2)),
            rejection=1 - probability.mean((0, 2)),
            beta=self.ladder.beta,
            step_size=self.ladder.step_size,
            round_trips=self.round_trips.cpu().numpy().copy(),
        )


def place_rungs(beta: np.ndarray, rejection: np.ndarray, through: list[float], target: float) -> np.ndarray:
    """Rungs between which exchanges are refused equally often, from the rates (R,) measured on the rungs (R + 1,).

    The rates add up along the ladder: Λ(β) = Σ rejection up to β, the communication barrier, is (to third order in
    the spacing) a property of the path and not of its rungs, so rungs at equal steps of Λ equalize the rates (Syed et
    al. 2022, Algorithm 4). The barrier is interpolated linearly in log β, below the first rung in β. The values
    `through`, ascending and ending with the top, become rungs, and each stretch between them gets as few as keep the
    rate at most at `target`.
    """
    barrier = np.concatenate([[0.0], np.cumsum(np.maximum(rejection, 1e-3))])
    scale = np.concatenate([[np.log(beta[1]) - 1.0], np.log(beta[1:])])

    def barrier_at(b: float) -> float:
        return float(b / beta[1] * barrier[1] if b <= beta[1] else np.interp(np.log(b), scale[1:], barrier[1:]))

    def beta_at(level: np.ndarray) -> np.ndarray:
        upper = np.exp(np.interp(level, barrier[1:], scale[1:]))
        return np.where(level <= barrier[1], level / barrier[1] * beta[1], upper)

    rungs, start = [np.zeros(1)], 0.0
    for stop in through:
        low, high = barrier_at(start), barrier_at(stop)
        steps = max(1, int(np.ceil((high - low) / target)))
        inner = beta_at(low + (high - low) * np.arange(1, steps) / steps)
        rungs += [inner, np.array([stop])]
        start = stop
    return np.concatenate(rungs)
