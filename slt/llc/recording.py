"""Recording: draws until the error target is met or a budget ends, saved on the way."""

import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from samplers.engine import LossFunction
from samplers.posterior import LocalPosterior
from samplers.pyro_nuts import nuts
from samplers.run import Run
from samplers.trace import Trace, concatenate
from samplers.warmup import WarmedUp
from slt.diagnostics import MeanSummary, detect_warmup
from slt.llc.draws import distance_travelled, llc_draws, llc_from_trace, sound_chains
from slt.llc.heat_capacity import heat_capacity
from slt.llc.verdict import MAX_RHAT, MIN_DISTANCE_ESS, MIN_ESS
from slt.progress import Progress
from slt.settings import Settings

SGLD_BLOCK, HMC_BLOCK = 500, 25
HOPELESS_ESS, HOPELESS_Z = 400, 6  # a negative llc known this well needs no more draws
MIN_DRAWS = 100  # after warm-up, before a run may stop at its error target
MIN_DRAWS_CARRIED = 25  # the same where a step size suits that was found on a similar model, which has been run already
REPAID = 2.5  # times the gradients of warm-up and choices that draws take then: after those, more draws cost little
FEWEST = 4  # draws of a run that is cut short
NUTS_DRAWS, NUTS_WARMUP = 250, 150
SAVE_SECONDS = 20.0  # between saves inside a block
GOING_ON = "going on"


def record(
    trace: Trace | None,
    ready: WarmedUp,
    options: Settings,
    n_beta: float,
    full: bool,
    report: Progress,
    over: Callable[[], bool],
    save: Callable[[Trace], None],
    share_of_error: float = 1.0,
) -> tuple[Trace, MeanSummary, str | None]:
    """All draws, `trace` being those there are already; their summary; and which budget ended them, if one did.

    The draws are looked at after blocks that grow, so that looking stays cheap beside making them. Where the looks
    fall depends on nothing but their number, so that a resumed run stops where it would have stopped; when time is
    `over`, it stops at once. `share_of_error` is how much of the error target Monte Carlo may use up.
    """
    target = share_of_error * options.target_error
    thin = options.thin or 1
    least = HMC_BLOCK if full else SGLD_BLOCK
    wanted = None if options.draws is None else options.draws + (options.warmup or 0)
    most = max(4, (options.max_steps - ready.gradients) // (ready.gradients_per_step * thin))
    look = min(least, wanted or most)
    while True:
        done = 0 if trace is None else trace.loss.shape[1]
        while look < done:
            look = min(look + max(least, look // 4), max(done, wanted or most))
        trace = _advance(trace, ready.run, look - done, thin, max(1, least // 25), save, over)
        trace = replace(trace, warmup=_warmup_draws(trace, options, n_beta))
        summary = llc_from_trace(trace, n_beta, shared_noise=not full)
        aim = heat_capacity(trace, n_beta, full) if options.remedy == "heat-capacity" else summary
        share = (target * abs(aim.mean) / aim.std_error) ** 2 if aim.std_error > 0 else 1.0
        done = trace.loss.shape[1]
        report.update(min(1.0, done / wanted if wanted else max(share, done / most)), aim)
        stopped = _stopped(trace, ready, summary, share, options, wanted, most, full)
        if stopped == GOING_ON and over():
            stopped = f"max_seconds = {options.max_seconds:g} reached"
        if stopped == GOING_ON and not ready.run.alive.any():
            stopped = "every chain is lost"
        if stopped != GOING_ON:
            return trace, summary, stopped
        look = min(look + max(least, look // 4), wanted or most)


def record_nuts(posterior: LocalPosterior, ready: WarmedUp, options: Settings) -> tuple[Trace, int]:
    """Draws by NUTS from chains that are warmed up, and the gradients per chain they took, adaptation included.

    NUTS runs in one piece, without an error target: 250 draws per chain unless asked for more.
    """
    counting = _Counting(posterior.loss)
    draws = options.draws or NUTS_DRAWS
    adapt = NUTS_WARMUP if options.warmup is None else options.warmup
    trace = nuts(posterior.on(counting), ready.run.position, draws, warmup=adapt, seed=options.seed)
    return trace, round(counting.gradients / trace.chains)


class _Counting:
    """A loss that counts the gradients asked of it."""

    def __init__(self, loss: LossFunction):
        self._loss, self.dimension, self.gradients = loss, loss.dimension, 0

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        return self._loss.value(w, index)

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.gradients += len(w)
        return self._loss.value_and_grad(w, index)


def _stopped(
    trace: Trace,
    ready: WarmedUp,
    summary: MeanSummary,
    share: float,
    options: Settings,
    wanted: int | None,
    most: int,
    full: bool,
) -> str | None:
    """GOING_ON; None where the run has what was asked of it; else why it ends without."""
    done = trace.loss.shape[1]
    if wanted is not None and done >= wanted:
        return None
    if wanted is not None:
        return GOING_ON
    enough = trace.draws >= MIN_DRAWS_CARRIED
    if options.initial_step_size is None:
        spent = done * ready.gradients_per_step * (options.thin or 1)
        enough = trace.draws >= MIN_DRAWS and spent >= REPAID * ready.gradients
    sure = enough and share >= 1 and summary.rhat <= MAX_RHAT and summary.ess >= MIN_ESS
    if sure and (full or distance_travelled(trace).ess >= MIN_DISTANCE_ESS * trace.chains):
        return None
    if summary.ess >= HOPELESS_ESS and summary.mean < -HOPELESS_Z * summary.std_error:
        return "stopped early: the sign is beyond doubt"
    return f"max_steps = {options.max_steps} reached" if done >= most else GOING_ON


def _advance(
    trace: Trace | None,
    run: Run,
    draws: int,
    thin: int,
    piece: int,
    save: Callable[[Trace], None],
    over: Callable[[], bool],
) -> Trace:
    """The trace with `draws` more draws, saved at the end and, in a block that takes long, on the way.

    Fewer where time is over, but no fewer than a summary needs.
    """
    pieces = [] if trace is None else [trace]
    saved = time.monotonic()
    while draws > 0:
        pieces.append(run.advance(min(piece, draws), thin))
        draws -= pieces[-1].loss.shape[1]
        if over() and sum(part.loss.shape[1] for part in pieces) >= FEWEST:
            draws = 0
        if draws <= 0 or time.monotonic() - saved > SAVE_SECONDS:
            pieces = [concatenate(pieces)]
            save(pieces[0])
            saved = time.monotonic()
    return pieces[0]


def _warmup_draws(trace: Trace, options: Settings, n_beta: float) -> int:
    if options.warmup is not None:
        return min(options.warmup, max(0, trace.loss.shape[1] - 4))
    return detect_warmup(llc_draws(trace, n_beta)[sound_chains(trace)]) if len(sound_chains(trace)) else 0
