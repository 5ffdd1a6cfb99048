"""Warm-up of a ladder: rungs, step sizes and starting points, all from one climb out of the localizing Gaussian."""

from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from torch import Tensor

from samplers.batches import Batches
from samplers.errors import InputError
from samplers.hmc import HMC
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.tempering import TARGET_REJECTION, Ladder, ReplicaExchange, place_rungs
from samplers.warmup import CAUTION, TARGET_ACCEPTANCE, next_beta, resample

PARTICLES = 16  # in the climb, for each replica of the ladder
MAX_STAGES = 400
ANGLE = 1.2  # of the longest trajectory along flat directions, where the posterior is as wide as its localizer
MAX_LEAPFROG = 16
TUNING = (20, 30, 30)  # sweeps of the rounds after each of which the rungs are placed anew
SETTLING = 30  # sweeps that settle the step sizes on the final rungs


@dataclass(frozen=True)
class ClimbStage:
    """One stage of the climb: its β, the step size that suited it, and some of the particles it left, (M, d)."""

    beta: float
    step_size: float
    position: Tensor


@dataclass(frozen=True)
class WarmLadder:
    """A ladder that is ready to be recorded, and its cost in gradient evaluations per row and per sweep."""

    exchange: ReplicaExchange
    gradients: int
    gradients_per_sweep: int


def climb(
    posterior: LocalPosterior, kernel: HMC, noise: ChainNoise, replicas: int, target: float, fixed: bool
) -> tuple[list[ClimbStage], int]:
    """Stages from β = 0 to the posterior's β by sequential Monte Carlo, and the gradients spent per particle.

    Particles start as exact draws of the localizing Gaussian. Each stage raises β as far as half of their effective
    number allows, resamples them and moves them by two trajectories (Del Moral, Doucet & Jasra 2006). The step size
    follows the mean acceptance towards `target` unless `fixed`. Raises InputError where no draw has a finite loss.
    """
    top, gamma = float(posterior.beta), float(posterior.gamma)
    start = posterior.tempered(0.0)
    state = kernel.init(start, start.draw_localizer(len(noise), noise))
    spread = torch.arange(replicas, device=start.centers.device) * (len(noise) // replicas)
    epsilon, beta, gradients = float(kernel.step_size), 0.0, 1
    stages: list[ClimbStage] = []
    for _ in range(MAX_STAGES):
        if beta >= top:
            break
        if not bool(state.loss.isfinite().any()):
            raise InputError("the loss is not finite at any draw of the localizing Gaussian: use a larger gamma")
        reached = next_beta(posterior, state.loss, beta, top)
        kept = resample(state.loss, posterior.n * (reached - beta), float(noise.uniform()[0]))
        state, beta = type(state)(*(part[kept] for part in state)), reached
        for _ in range(2):
            current = replace(kernel, step_size=epsilon, leapfrog_steps=_leapfrog(kernel, epsilon, gamma))
            state, info = current.step(posterior.tempered(beta), state, None, noise)
            gradients += current.leapfrog_steps
            if not fixed and info.acceptance is not None:
                epsilon = min(epsilon * np.exp(2.0 * (float(info.acceptance.nanmean()) - target)), 1 / gamma)
        stages.append(ClimbStage(beta, epsilon, state.position[spread].clone()))
    return stages, gradients


def _leapfrog(kernel: HMC, epsilon: float, gamma: float) -> int:
    """Steps of a trajectory that spans ANGLE along flat directions; 1 for MALA."""
    if kernel.leapfrog_steps == 1:
        return 1
    return int(min(MAX_LEAPFROG, max(2, round(ANGLE / (gamma * epsilon) ** 0.5))))


def warm_up_ladder(
    posterior: LocalPosterior,
    *,
    seed: int,
    replicas: int,
    n_data: int,
    name: str = "hmc",
    step_size: float | None = None,
    through: tuple[float, ...] = (),
    steps: int = 1,
) -> WarmLadder:
    """A ladder from β = 0 to the posterior's β under HMC (or MALA), ready to be recorded.

    The stages of a climb by sequential Monte Carlo are the first rungs, its particles the first positions. Rounds of
    replica exchange then measure how often exchanges are refused, and place as many rungs as keep that rate at
    `TARGET_REJECTION`, equalized; the β in `through` that lie below the top become rungs. The step size of each rung
    follows its own acceptance while the rungs are tuned, and is frozen afterwards; with `step_size` given it is the
    same everywhere from the start. `steps` trajectories lie between exchanges.
    """
    top, gamma = float(posterior.beta), float(posterior.gamma)
    device = posterior.centers.device
    kernel = HMC(step_size or 0.5 / gamma, 1 if name == "mala" else 8, jitter=0.0 if name == "mala" else 0.2)
    kernel = replace(kernel, caution=CAUTION)
    target = TARGET_ACCEPTANCE[name]
    streams = count()

    def noise(rows: int) -> ChainNoise:
        return ChainNoise(seed, [next(streams) for _ in range(rows)], device)

    stages, gradients = climb(posterior, kernel, noise(PARTICLES * replicas), replicas, target, step_size is not None)
    leapfrog = _leapfrog(kernel, stages[-1].step_size, gamma)
    longest = 1 / gamma if leapfrog == 1 else (ANGLE / leapfrog) ** 2 / gamma

    def kernel_at(rows: Tensor) -> HMC:
        return replace(kernel, step_size=rows, leapfrog_steps=leapfrog)

    def exchange(ladder: Ladder, position: Tensor) -> ReplicaExchange:
        return ReplicaExchange(
            posterior,
            kernel_at,
            ladder,
            position,
            noise=noise(len(position)),
            bottom_noise=noise(replicas),
            batches=Batches(n_data, None, seed),
            steps=steps,
        )

    def settle(run: ReplicaExchange, sweeps: int) -> np.ndarray:
        refused = []
        for k in range(sweeps):
            _, _, acceptance, probability = run.sweep()
            refused.append(1 - probability.mean(1).cpu().numpy())
            if step_size is None:
                change = 2.0 * (1 + k) ** -0.6 * (acceptance.mean(1).cpu().numpy() - target)
                run.use_step_sizes(np.minimum(run.ladder.step_size * np.exp(change), longest))
        return np.mean(refused[sweeps // 4 :], axis=0)

    sizes = np.array([stage.step_size for stage in stages])
    sizes = sizes if step_size else np.minimum(sizes, longest)
    ladder = Ladder(np.array([0.0, *(stage.beta for stage in stages)]), sizes)
    run = exchange(ladder, torch.cat([stage.position for stage in stages]))
    required = [*sorted(b for b in through if 0 < b < top), top]
    for sweeps in TUNING:
        refused = settle(run, sweeps)
        gradients += sweeps * steps * leapfrog
        run = exchange(*_replaced(run, place_rungs(run.ladder.beta, refused, required, TARGET_REJECTION)))
    settle(run, SETTLING)
    return WarmLadder(run, gradients + SETTLING * steps * leapfrog, steps * leapfrog)


def _replaced(run: ReplicaExchange, beta: np.ndarray) -> tuple[Ladder, Tensor]:
    """The ladder with other rungs: each starts from the old rung nearest in log β, with a step size in between."""
    old, new = np.log(run.ladder.beta[1:]), np.log(beta[1:])
    nearest = np.abs(new[:, None] - old).argmin(1)
    sizes = np.exp(np.interp(new, old, np.log(run.ladder.step_size)))
    return Ladder(beta, sizes), torch.cat([run.at_rung(int(k) + 1) for k in nearest])
