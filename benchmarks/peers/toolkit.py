"""This toolkit, asked as the peers are. Only its own environment can run it."""

from __future__ import annotations

import time
import warnings

from benchmarks.peers.spec import Found, Problem

PACKAGE = "slt-toolkit"


def estimate(problem: Problem) -> Found:
    """Plain SGLD at the spec's settings; all else is left at its default, or as the spec's `options` say.

    λ̂ is reported for the run, not chain by chain. What an estimate says against itself becomes warnings, as peers warn.
    """
    import slt

    spec, started = problem.spec, time.process_time()
    settings = {"sampler": spec.sampler, "preconditioner": "identity", "step_size": spec.step_size, **spec.options}
    estimate = slt.estimate_llc(
        problem.model, (problem.inputs, problem.targets), problem.losses, chains=spec.chains, draws=spec.draws,
        warmup=spec.burn_in, thin=spec.steps_between_draws, batch_size=problem.batch_size, gamma=spec.gamma,
        beta=spec.n_beta / len(problem.inputs), seed=spec.seed, progress=False, **settings,
    )  # fmt: skip
    for reason in estimate.reasons:
        warnings.warn(f"{estimate.status}: {reason}", stacklevel=2)
    return Found(estimate.trace.kept("loss"), [estimate.llc], estimate.center_loss, started)
