"""What the program chose for the user, each choice with its reason in words."""

from samplers.trace import Trace
from samplers.warmup import WarmedUp
from slt.settings import FULL_PASS_IS_CHEAP, LOCALITY_RADIUS, Settings

_METRICS = {
    "diagonal": "from the curvature at chains",
    "low-rank": "without it trajectories would be long, and chains agree on the stiff directions",
    "identity": "trajectories are short, or chains do not share the directions that make them long",
}


def explain(
    options: Settings, ready: WarmedUp, name: str, preconditioner: str, trace: Trace, stopped: str | None = None
) -> tuple[str, ...]:
    """One line for every knob that was left to the program; `stopped` is the budget that ended the draws, if any."""
    run, said = ready.run, []
    n, dimension = run.posterior.n, run.posterior.dimension
    if options.beta is None:
        said.append(f"beta = 1/log n = {float(run.posterior.beta):.4g}: E[nL] then estimates the free energy")
    if options.gamma is None:
        gamma = float(run.posterior.gamma)
        reach = f"the localizing Gaussian reaches {LOCALITY_RADIUS:.0%} of |w*| from w*"
        zero = not bool(run.posterior.centers.any())
        said.append(f"gamma = {gamma:.4g}: {'w* is zero and sets no scale' if zero else reach}")
    if options.sampler == "auto":
        why = "at most" if name == "hmc" else "minibatches were asked for, or n·d is above"
        said.append(f"sampler = {name}: n·d = {n * dimension:.3g}, {why} {FULL_PASS_IS_CHEAP:.0e}")
    if isinstance(options.sampler, str) and name != "nuts":  # which sees to its own metric and step
        if options.preconditioner == "auto":
            why = _METRICS.get(preconditioner, "the sampler's own")
            said.append(f"preconditioner = {preconditioner}: {why}")
        if options.step_size is None:
            why = "acceptance" if run.kernel.full_data else "the largest curvature that the chains met"
            said.append(f"step_size = {ready.step_size:.3g}: from {why}, after {ready.gradients} gradients of warm-up")
    if options.warmup is None and name != "nuts":
        said.append(f"warmup = {trace.warmup} more draws left out: the rest has the most effective draws")
    if options.thin is None and name != "nuts":
        said.append("thin = 1: a mean over all draws is better than one over some of them, however they correlate")
    if options.draws is None and name == "nuts":
        said.append(f"draws = {trace.draws}: what NUTS makes in one piece")
    elif options.draws is None:
        why = stopped or f"the relative error target is {options.target_error:.3g}"
        said.append(f"draws = {trace.draws}: {why}")
    return tuple(said)
