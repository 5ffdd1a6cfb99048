"""Starting a run: the sampler, chosen or as asked for, and chains warmed up from draws of the localizing Gaussian."""

import math
from collections.abc import Callable
from dataclasses import replace

from samplers.batches import Batches
from samplers.constraints import Free, GradientHyperplane
from samplers.coupling import Start
from samplers.errors import InputError
from samplers.hmc import HMC
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Identity
from samplers.registry import FULL_DATA, make_kernel
from samplers.run import Run
from samplers.tuning import LangevinKernel
from samplers.warmup import WarmedUp, no_end, warm_up_hmc, warm_up_sgld
from slt.llc.step_error import LEAST_DRAWS, compared_chains
from slt.settings import Settings, choose_sampler

DEFAULT_BATCH = 256
METRICS = {Identity: "identity", Diagonal: "diagonal", LowRank: "low-rank"}


def warm_up(
    posterior: LocalPosterior, n: int, options: Settings, over: Callable[[], bool] = no_end
) -> tuple[str, str, WarmedUp]:
    """Names of the sampler and the preconditioner, and chains that are ready to be recorded, or cut short when time is
    `over`.
    """
    name, preconditioner, ready = _warm_up(posterior, n, options, over)
    asked = None if options.draws is None else options.draws + (options.warmup or 0)
    if options.extrapolate and (asked is None or asked >= LEAST_DRAWS):
        run, composed = ready.run, not isinstance(options.sampler, str)
        chains = compared_chains(run.kernel, options.chains, posterior.dimension, composed)
        if chains:
            ready = replace(ready, start=Start.of(run, chains))
    return name, preconditioner, ready


def _warm_up(
    posterior: LocalPosterior, n: int, options: Settings, over: Callable[[], bool]
) -> tuple[str, str, WarmedUp]:
    noise = ChainNoise(options.seed, options.chains, posterior.centers.device)
    position = posterior.draw_localizer(options.chains, noise)
    kernel = options.sampler
    if not isinstance(kernel, str):
        if options.remedy == "gradient-normal":
            raise InputError(
                "a composed kernel has its own constraint: give it GradientHyperplane() in the place of remedy"
            )
        batches = Batches(n, None if kernel.full_data else options.batch_size, options.seed)
        run = Run(posterior, kernel, position, noise=noise, batches=batches)
        return (
            type(kernel).__name__.lower(),
            "as composed",
            WarmedUp(run, getattr(kernel, "step_size", math.nan), 0, 1),
        )
    constraint = GradientHyperplane(flat_is_free=True) if options.remedy == "gradient-normal" else Free()
    name = choose_sampler(n, posterior.dimension, options.batch_size) if kernel == "auto" else kernel
    if name == "nuts" and options.remedy == "gradient-normal":
        raise InputError("NUTS has no constraint: leave the remedy out, or use sampler 'hmc'")
    if name in FULL_DATA:
        if options.batch_size not in (None, n):
            raise InputError(
                f"sampler {name!r} is Metropolis-corrected and needs the full data: leave batch_size unset"
            )
        # NUTS sees to its own metric: what is chosen here only brings its chains to where they start.
        asked = "identity" if (name, options.preconditioner) == ("nuts", "auto") else options.preconditioner
        ready = warm_up_hmc(
            posterior,
            position,
            noise,
            Batches(n, None, options.seed),
            name="hmc" if name == "nuts" else name,
            step_size=options.step_size,
            preconditioner=asked,
            constraint=constraint,
            carried=options.initial_step_size,
            over=over,
        )
        assert isinstance(ready.run.kernel, HMC)
        return name, METRICS[type(ready.run.kernel.preconditioner)], ready
    kernel = make_kernel(name, 1.0)
    assert isinstance(kernel, LangevinKernel)  # the other names are dealt with above
    kernel = replace(kernel, constraint=constraint)
    own = not isinstance(kernel.preconditioner, Identity)
    preconditioner = options.preconditioner
    if preconditioner == "auto":
        preconditioner = type(kernel.preconditioner).__name__.lower() if own else "diagonal"
    ready = warm_up_sgld(
        posterior,
        position,
        noise,
        Batches(n, options.batch_size or min(n, DEFAULT_BATCH), options.seed),
        kernel=kernel,
        step_size=options.step_size,
        preconditioner=None if own and options.preconditioner == "auto" else preconditioner,
        over=over,
    )
    return name, preconditioner, ready
