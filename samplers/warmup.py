"""Warm-up: from exact draws of the localizing Gaussian to chains whose step size suits the posterior."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samplers.adaptive_preconditioner import RMSprop
from samplers.batches import Batches
from samplers.constraints import Constraint, Free
from samplers.coupling import Start
from samplers.engine import LossFunction
from samplers.hmc import HMC
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Identity, Preconditioner
from samplers.run import Run
from samplers.stiffness import shared_stiffness
from samplers.trace import Trace, concatenate
from samplers.tuning import ITERATIONS, PROBES, LangevinKernel, choose_preconditioner, tune_sgld

TARGET_ACCEPTANCE = {"hmc": 0.8, "mala": 0.57}
TRAJECTORY_ANGLE = (
    0.8  # of a trajectory along flat directions: an eighth of a turn; longer ones cost more than they mix
)
MAX_LEAPFROG = 32
LONG = 5  # leapfrog steps of a trajectory from which it pays to look for stiff directions
AGAIN = 4.0  # times nβ, before they are looked for once more
MAX_STAGES = 60
STAGE_MOVES = 2  # trajectories of a stage of annealing; with one, answers scatter more than their errors say
ADAPTATION = 10  # trajectories that settle the step size at the target temperature,
SETTLED = 4  # or as few as this where it was settled before,
SETTLED_WITHIN = 0.12  # and their mean acceptance is that near its target
CAUTION = 0.2  # share of trajectories with smaller steps, which free chains from regions of high curvature
SETTLING = 100  # least SGLD steps between the first tuning and the last,
MOST_SETTLING = 2000  # and most
PIECE = 50  # of them between two looks at the clock
MOMENTS = 600  # steps after which the moments of a kernel's own preconditioner are frozen, before anything is recorded
ANNEALING_BATCHES = 2  # minibatches that make the subset on which chains of minibatch samplers are annealed


@dataclass(frozen=True)
class WarmedUp:
    """A run that is ready to be recorded, and its cost so far in gradient evaluations per chain.

    `burn_in` holds the draws of the warm-up itself: for looking at, never for averages. `start` is where the run
    stood when it was ready, for kernels whose step has a bias to be measured. `cut_short` says how far it came where
    its time was over first.
    """

    run: Run
    step_size: float
    gradients: int
    gradients_per_step: int
    burn_in: Trace | None = None
    start: Start | None = None
    cut_short: str | None = None

    @property
    def burn_in_draws(self) -> int:
        """How many draws `burn_in` has."""
        return 0 if self.burn_in is None else self.burn_in.loss.shape[1]


def no_end() -> bool:
    """For a warm-up whose time is never over."""
    return False


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


def resample(loss: Tensor, rate: float, uniform: float) -> Tensor:
    """Indices (C,) of chains drawn with weights exp(-rate · loss), systematically: few copies, the expected number of
    each.

    Chains that are not finite have weight 0 (Douc & Cappé 2005, systematic resampling).
    """
    log_weight = torch.where(loss.isfinite(), -rate * loss, -torch.inf)
    if not bool(log_weight.isfinite().any()):
        return torch.arange(len(loss), device=loss.device)
    cumulative = log_weight.softmax(0).cumsum(0)
    positions = (torch.arange(len(loss), dtype=torch.float64, device=loss.device) + uniform) / len(loss)
    return torch.searchsorted(cumulative / cumulative[-1], positions).clamp(max=len(loss) - 1)


def warm_up_hmc(
    posterior: LocalPosterior,
    position: Tensor,
    noise: ChainNoise,
    batches: Batches,
    *,
    name: str,
    step_size: float | None,
    preconditioner: str,
    constraint: Constraint | None = None,
    carried: float | None = None,
    over: Callable[[], bool] = no_end,
) -> WarmedUp:
    """Anneal from β = 0 to the target by sequential Monte Carlo, then settle the step size of HMC (or MALA) there.

    At β = 0 the positions are exact draws. Each stage raises β as far as half of the chains' effective number allows,
    resamples the chains with the weights this gives them, and moves them by two trajectories (Del Moral, Doucet &
    Jasra 2006): a chain that would be left behind in a region of vanishing probability is replaced by one that is
    not. The step size follows the chains' mean acceptance towards 0.8 (MALA: 0.57), with a gain that dies out at the
    target; trajectories span an angle of about 0.8 along flat directions, where the posterior is as wide as its
    localizer. `preconditioner` 'auto' is none, until trajectories have become long and chains share the directions that
    make them so (`shared_stiffness`); 'diagonal' and 'low-rank' are made at the target.

    `carried` is a step size that suited a similar posterior without a preconditioner: chains are annealed with it, and
    as soon as their acceptance confirms it, it is kept. `over` is asked before each trajectory whether time is over.
    """
    target, gamma = float(posterior.beta.max()), float(posterior.gamma.max())
    relative = posterior.beta / target if target > 0 else posterior.beta
    epsilon, gradients = step_size or carried or 0.5 / gamma, 0
    within = constraint or Free()
    metric: Preconditioner = Identity()
    stiffness, looked_at = None, 0.0
    looks = preconditioner == "auto" and posterior.owner is None and not carried

    def leapfrog_steps() -> int:
        return 1 if name == "mala" else min(MAX_LEAPFROG, max(1, round(TRAJECTORY_ANGLE / (gamma * epsilon) ** 0.5)))

    def kernel() -> HMC:
        jitter = 0.0 if name == "mala" else HMC.jitter
        return HMC(epsilon, leapfrog_steps(), metric, jitter=jitter, caution=CAUTION, constraint=within)

    run = Run(posterior.tempered(0.0 * relative), kernel(), position, noise=noise, batches=batches)

    burn_in: list[Trace] = []

    def move(trajectories: int, gain: float, decay: float) -> None:
        nonlocal epsilon, gradients
        for k in range(trajectories):
            if over() and burn_in:
                break
            run.kernel = current = kernel()
            burn_in.append(run.advance(1))
            acceptance = float(np.nanmean(burn_in[-1].acceptance))
            gradients += current.leapfrog_steps
            if step_size is None:
                epsilon *= 2.718 ** (gain * (1 + k) ** -decay * (acceptance - TARGET_ACCEPTANCE[name]))
                epsilon = min(epsilon, 1 / gamma)

    def flatten() -> None:
        """Look for stiff directions where trajectories have become long, and flatten those there are."""
        nonlocal metric, stiffness, looked_at, epsilon, gradients
        n_beta = float(run.posterior.n_beta.max())
        if looks and leapfrog_steps() >= LONG and n_beta >= AGAIN * looked_at:
            before, looked_at = stiffness, n_beta
            stiffness, spent = shared_stiffness(run.posterior, run.position, noise)
            gradients += round(spent / len(position))
            if stiffness is not None and before is None and step_size is None:
                epsilon = min(1 / gamma, epsilon * stiffness.relief)
        if stiffness is not None:
            metric = stiffness.metric(n_beta, gamma)

    beta, cut_short = 0.0, None
    for _ in range(MAX_STAGES):
        if beta >= target:
            break
        if over() and burn_in:
            cut_short = f"at {beta / target:.0%} of beta"
            break
        reached = next_beta(posterior, run.state.loss, beta, target)
        if posterior.owner is None:  # chains of different centres do not replace each other
            kept = resample(run.state.loss, posterior.n * (reached - beta), float(noise.uniform()[0]))
            run.state = type(run.state)(*(part[kept] for part in run.state))
        beta = reached
        run.posterior = posterior.tempered(beta * relative)
        flatten()
        move(STAGE_MOVES, gain=0.0 if carried else 2.0, decay=0.0)
    run.posterior = posterior
    if preconditioner in ("diagonal", "low-rank"):
        metric = choose_preconditioner(preconditioner, posterior, run.position, noise, None)
    if carried and step_size is None:
        for k in range(ADAPTATION):
            move(1, gain=1.0, decay=0.0)
            recent = [float(np.nanmean(one.acceptance)) for one in burn_in[-SETTLED:]]
            if k + 1 >= SETTLED and abs(float(np.mean(recent)) - TARGET_ACCEPTANCE[name]) < SETTLED_WITHIN:
                break
    else:
        move(ADAPTATION, gain=3.0, decay=0.6)
    run.kernel = final = kernel()
    return WarmedUp(run, epsilon, gradients, final.leapfrog_steps, concatenate(burn_in), cut_short=cut_short)


def relaxation(kernel: LangevinKernel, gamma: float) -> float:
    """Steps in which flat directions, of curvature γ, forget where they were: 2 (1 - c)/(εγ (1 + c)), momentum c."""
    c = getattr(kernel, "momentum", 0.0)
    step = float(torch.as_tensor(kernel.step_size).min())
    return 2 * (1 - c) / (step * gamma * (1 + c))


class _Subset:
    """The loss on some of the samples in the place of all of them."""

    def __init__(self, loss: LossFunction, index: Tensor):
        self._loss, self._index, self.dimension = loss, index, loss.dimension

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        return self._loss.value(w, self._index)

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._loss.value_and_grad(w, self._index)


def warm_up_sgld(
    posterior: LocalPosterior,
    position: Tensor,
    noise: ChainNoise,
    batches: Batches,
    *,
    kernel: LangevinKernel,
    step_size: float | None,
    preconditioner: str | None,
    over: Callable[[], bool] = no_end,
) -> WarmedUp:
    """Anneal on a subset of the data, then set step size and preconditioner by the curvature where the chains are.

    A few minibatches stand for the data, at the temperature of all of them, while `warm_up_hmc` brings the chains
    near the posterior (but no nearer than the subset knows where it is: λ̂ is too high there by about nβ d/2b, b the
    subset's size); the kernel then settles, for as long as flat directions take to relax, and is tuned once more,
    before it is recorded. `preconditioner` None
    leaves the kernel its own, whose moments are made while it settles and frozen then: a metric that moves with the
    chain would bias it. Its step size is that of the curvature without it.
    """
    pieces = [batches.next() for _ in range(ANNEALING_BATCHES)]
    subset = None if pieces[0] is None else torch.cat([piece for piece in pieces if piece is not None]).unique()
    stand_in = posterior if subset is None else posterior.on(_Subset(posterior.loss, subset))
    full = Batches(batches.n, None, 0)
    annealed = warm_up_hmc(
        stand_in, position, noise, full, name="hmc", step_size=None, preconditioner="identity", over=over
    )
    share = 1.0 if subset is None else len(subset) / (batches.batch_size or batches.n)
    gradients = round(annealed.gradients * share)

    def tuned(where: Tensor) -> LangevinKernel:
        nonlocal gradients
        metric = kernel.preconditioner
        if isinstance(metric, RMSprop) and preconditioner is None:
            metric = replace(metric, adapt=MOMENTS)
        if preconditioner is not None:
            metric = choose_preconditioner(preconditioner, posterior, where, noise, subset)
        gradients += round(share * (2 * PROBES * (preconditioner == "diagonal") + 2 * ITERATIONS * (step_size is None)))
        current = replace(kernel, preconditioner=metric, step_size=step_size or 1.0)
        return current if step_size else tune_sgld(posterior, current, where, noise, subset)

    first = tuned(annealed.run.position)
    run = Run(posterior, first, annealed.run.position, noise=noise, batches=batches)
    least, most = (SETTLING, MOST_SETTLING) if preconditioner is not None else (MOMENTS, MOMENTS)
    settling = round(min(most, max(least, relaxation(first, float(posterior.gamma.max())))))
    parts = [run.advance(min(PIECE, settling))]
    while run.steps < settling and not over():
        parts.append(run.advance(min(PIECE, settling - run.steps)))
    burn_in = concatenate(parts)
    cut_short = f"after {run.steps} of {settling} steps of settling" if run.steps < settling else annealed.cut_short
    # A chain lost on the way has no curvature to tune by (the run will report it); moments would have to start again.
    if run.alive.all() and preconditioner is not None:
        run.use(tuned(run.position))
    return WarmedUp(run, float(run.kernel.step_size), gradients + run.steps, 1, burn_in, cut_short=cut_short)  # type: ignore[attr-defined]
