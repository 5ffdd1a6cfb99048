"""Warm-up: from exact draws of the localizing Gaussian to chains whose step size suits the posterior."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from samplers.batches import Batches
from samplers.hmc import HMC
from samplers.noise import ChainNoise, data_generator
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Preconditioner
from samplers.run import Run
from samplers.sgld import SGLD
from samplers.tuning import choose_preconditioner, tune_sgld

TARGET_ACCEPTANCE = {"hmc": 0.8, "mala": 0.57}
TRAJECTORY_ANGLE = 0.8  # of a trajectory along flat directions: an eighth of a turn; longer ones cost more than they mix
MAX_LEAPFROG = 32
MAX_STAGES = 60
ADAPTATION = 15  # trajectories that settle the step size at the target temperature
RAMP = 300  # SGLD steps over which β rises from 0 to its target
CURVATURE_SAMPLES = 4096  # samples on which curvature is measured


@dataclass(frozen=True)
class WarmedUp:
    """A run that is ready to be recorded, and its cost so far in gradient evaluations per chain."""

    run: Run
    step_size: float
    gradients: int
    gradients_per_step: int


def next_beta(posterior: LocalPosterior, loss: Tensor, current: float, target: float) -> float:
    """The largest β up to the target at which chains reweighted from the current β keep half their effective number.

    Weights are ω = exp(-nΔβ L), their effective number (Σω)²/Σω² (Del Moral, Doucet & Jasra 2006).
    """
    loss = loss[loss.isfinite()]
    if len(loss) == 0:
        return target
    loss = loss - loss.min()

    def effective(beta: float) -> float:
        weights = torch.exp(-posterior.n * (beta - current) * loss)
        return float(weights.sum() ** 2 / weights.square().sum() / len(weights))

    if effective(target) >= 0.5:
        return target
    low, high = current, target
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= 0.5 else (low, middle)
    return max(low, current + 1e-6 * target)


def warm_up_hmc(
    posterior: LocalPosterior,
    position: Tensor,
    noise: ChainNoise,
    batches: Batches,
    *,
    name: str,
    step_size: float | None,
    preconditioner: str,
) -> WarmedUp:
    """Raise β from 0 to its target in stages, then settle the step size of HMC (or MALA) at the target.

    At β = 0 the positions are exact draws. A stage goes as far as half of the chains' effective number allows and
    moves them by two trajectories. The step size follows the chains' mean acceptance towards 0.8 (MALA: 0.57), with a
    gain that dies out at the target; trajectories span an angle of about 0.8 along flat directions, where the
    posterior is as wide as its localizer.
    """
    target, gamma = float(posterior.beta.max()), float(posterior.gamma.max())
    relative = posterior.beta / target if target > 0 else posterior.beta
    epsilon, gradients = step_size or 0.5 / gamma, 0
    metric: Preconditioner = choose_preconditioner("identity", posterior, position, noise, None)

    def kernel() -> HMC:
        if name == "mala":
            return HMC(epsilon, 1, metric, jitter=0.0)
        steps = round(TRAJECTORY_ANGLE / (gamma * epsilon) ** 0.5)
        return HMC(epsilon, min(MAX_LEAPFROG, max(1, steps)), metric)

    run = Run(posterior.tempered(0.0 * relative), kernel(), position, noise=noise, batches=batches)

    def move(trajectories: int, gain: float, decay: float) -> None:
        nonlocal epsilon, gradients
        for k in range(trajectories):
            run.kernel = current = kernel()
            acceptance = float(run.step().acceptance.nanmean())  # type: ignore[union-attr]
            gradients += current.leapfrog_steps
            if step_size is None:
                epsilon *= 2.718 ** (gain * (1 + k) ** -decay * (acceptance - TARGET_ACCEPTANCE[name]))
                epsilon = min(epsilon, 1 / gamma)

    beta = 0.0
    for _ in range(MAX_STAGES):
        if beta >= target:
            break
        beta = next_beta(posterior, run.state.loss, beta, target)
        run.posterior = posterior.tempered(beta * relative)
        move(2, gain=2.0, decay=0.0)
    run.posterior = posterior
    if preconditioner == "diagonal":
        metric = choose_preconditioner(preconditioner, posterior, run.position, noise, None)
    move(ADAPTATION, gain=3.0, decay=0.6)
    run.kernel = final = kernel()
    return WarmedUp(run, epsilon, gradients, final.leapfrog_steps)


def warm_up_sgld(
    posterior: LocalPosterior,
    position: Tensor,
    noise: ChainNoise,
    batches: Batches,
    *,
    kernel: SGLD,
    step_size: float | None,
    preconditioner: str,
) -> WarmedUp:
    """Raise β linearly to its target over some hundred steps, measuring the curvature before and after.

    Before: at w* and at draws of the localizing Gaussian, where it bounds what the chains will meet on the way.
    After: where the chains have arrived, which sets the step size (unless given) and the preconditioner that are
    recorded with.
    """
    subset = None
    if batches.n > CURVATURE_SAMPLES:
        subset = torch.randperm(batches.n, generator=data_generator(0))[:CURVATURE_SAMPLES]
    target, evaluations = posterior.beta, 0

    def tuned(where: Tensor) -> SGLD:
        nonlocal evaluations
        metric = choose_preconditioner(preconditioner, posterior, where, noise, subset)
        current = replace(kernel, preconditioner=metric, step_size=step_size or 1.0)
        evaluations += 16 + (0 if step_size else 24)
        return current if step_size else tune_sgld(posterior, current, where, noise, subset)

    half = len(position) // 2
    around = torch.cat([posterior.center_of(len(position))[:half], position[half:]])
    first = tuned(around)
    run = Run(posterior, first, position, noise=noise, batches=batches)
    for k in range(RAMP):
        run.posterior = posterior.tempered(target * ((k + 1) / RAMP))
        run.step()
    # A chain lost on the way has no curvature: leave the tuning at what held before, the run will report the chain.
    final = tuned(run.position) if run.alive.all() else first
    run.posterior, run.kernel = posterior, final
    return WarmedUp(run, final.step_size, RAMP + evaluations, 1)
