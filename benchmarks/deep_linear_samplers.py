"""Samplers on a deep linear network: error, cost, bias and Monte Carlo error, kernel by kernel and step by step.

Network 10-10-10-10 (300 weights), truth of rank 3 at w*, n = 50,000 samples, unit noise, β = 1/log n, minibatches of
256, γ = 100. The reference is HMC on all the data. Each setting runs 8 independent replicates of 8 chains, all started
at draws of the localizing Gaussian; an estimate is the mean of nβ (L(w) - L(w*)) over the second half of a run.

    bias          of the mean of all replicates, on the steps' own minibatches
    law           the same on all the data: what the stationary law itself is off by
    predicted     at most, from curvature and gradient noise where the chains are (samplers.step_bias)
    mc error      standard deviation between replicates, of one run of full length
    cost          sample gradients that one run of 8 chains needs for a root mean square error of 3%

At γ = 1 the curvature along the chain is many times that at w*: there, what the program can see of it.

    python -m benchmarks.deep_linear_samplers [--output benchmarks/results/deep_linear_samplers.json]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.deep_linear import CHAINS, DeepLinear, N, ReplicateBatches, posterior_of
from samplers.adaptive_preconditioner import RMSprop
from samplers.batches import Batches
from samplers.curvature import diagonal_curvature, gradient_of_potential, largest_curvature
from samplers.gradient import ControlVariate, Plain
from samplers.hmc import HMC
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.noise_compensation import NoiseCompensation
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Identity
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT
from samplers.step_bias import step_bias
from samplers.warmup import warm_up_hmc

BATCH, REPLICATES = 256, 8
N_BETA = N / math.log(N)
TOLERANCE = 0.03
LENGTH = 0.05  # steps of a run, times ε: two and a half relaxation times 2/(εγ) of flat directions
RADIUS = 0.05  # over which curvature is measured


@dataclass
class Row:
    """One line of the table; errors are relative to the reference."""

    kernel: str
    step_size: float
    steps: int
    llc: float
    bias: float
    law: float | None
    error_of_bias: float
    predicted: float | None
    mc_error: float
    cost: float | None
    seconds: float


@dataclass(frozen=True)
class Setting:
    """A kernel as a function of its step size, and the rows of a minibatch that one step evaluates gradients of."""

    name: str
    kernel: Callable[[float], Any]
    step_sizes: tuple[float, ...]
    rows: int = CHAINS


def settings(diagonal: Diagonal, low_rank: LowRank) -> list[Setting]:
    cv, compensation = ControlVariate, NoiseCompensation()
    few, more = (1e-5, 3e-5, 1e-4), CHAINS + 1
    return [
        Setting("SGLD", SGLD, (3e-7, 6e-7, 1e-6, 3e-6, 1e-5)),
        Setting("SGLD + compensation", lambda e: SGLD(e, compensation=compensation), (1e-6, 3e-6, 1e-5)),
        Setting("SGLD + control variates", lambda e: SGLD(e, gradient=cv()), (3e-6, *few), more),
        Setting("SGLD + both", lambda e: SGLD(e, gradient=cv(), compensation=compensation), few, more),
        Setting("RMSprop-SGLD + both", lambda e: SGLD(e, RMSprop(), cv(), compensation=compensation), few, more),
        Setting("SGHMC c=0 + control variates", lambda e: SGHMC(e, 0.0, gradient=cv()), few, more),
        Setting("SGHMC c=0 + both", lambda e: SGHMC(e, 0.0, gradient=cv(), compensation=compensation), few, more),
        Setting("SGHMC c=0.5 + both", lambda e: SGHMC(e, 0.5, gradient=cv(), compensation=compensation), few, more),
        Setting(
            "SGHMC c=0, diagonal + both",
            lambda e: SGHMC(e, 0.0, diagonal, cv(), compensation=compensation),
            few,
            more,
        ),
        Setting(
            "SGHMC c=0, low rank + both",
            lambda e: SGHMC(e, 0.0, low_rank, cv(), compensation=compensation),
            few,
            more,
        ),
        Setting("SGNHT c=0.3 + control variates", lambda e: SGNHT(e, 0.3, gradient=cv()), few, more),
    ]


def hmc_reference(loss: DeepLinear, gamma: float, step_size: float, draws: int, leapfrog: int) -> tuple[Tensor, Run]:
    """Draws of nβ (L - L*) by full-data HMC, (draws, chains), after annealing from the localizing Gaussian."""
    posterior, noise = posterior_of(loss, gamma, 2 * REPLICATES), ChainNoise(11, 2 * REPLICATES * CHAINS)
    kernel = HMC(step_size, leapfrog, caution=0.2)
    start, batches = posterior.draw_localizer(len(noise), noise), ReplicateBatches(None, 1, 0)
    run = Run(posterior.tempered(0.0), kernel, start, noise=noise, batches=batches)
    for step in range(150):
        share = min(1.0, (step + 1) / 100) ** 4
        run.use(kernel, posterior.tempered(share / math.log(N)))
        run.step()
    found, accepted = [], []
    for _ in range(draws):
        info = run.step()
        found.append(N_BETA * (info.loss - info.center_loss))
        accepted.append(float(info.acceptance.mean()))
    print(f"γ = {gamma:g}: HMC acceptance {sum(accepted) / draws:.2f}", flush=True)
    return torch.stack(found), run


def cost_to_tolerance(steps: Tensor, reference: float, per_step: int) -> float | None:
    """Sample gradients at which the root mean square error over the replicates falls below 3%, and stays there.

    `steps` (T, replicates) are the paired differences, averaged over the 8 chains of each replicate.
    """
    total = steps.cumsum(0)
    length, reached = len(steps), None
    while length >= 16:
        means = (total[length - 1] - total[length // 2 - 1]) / (length - length // 2)
        if float((means / reference - 1).square().mean().sqrt()) > TOLERANCE:
            break
        reached, length = length, int(length / 1.15)
    return None if reached is None else reached * per_step


def run_setting(posterior: LocalPosterior, setting: Setting, epsilon: float, reference: float) -> Row:
    started, kernel = time.monotonic(), setting.kernel(epsilon)
    momentum = getattr(kernel, "momentum", 0.0)
    steps = max(3000, round(LENGTH / epsilon * (1 - momentum) / (1 + momentum)))
    noise, batches = ChainNoise(5, REPLICATES * CHAINS), ReplicateBatches(BATCH, REPLICATES, 5)
    run = Run(posterior, kernel, posterior.draw_localizer(len(noise), noise), noise=noise, batches=batches)
    center = posterior.loss.value(posterior.centers[:1])
    paired, whole = [], []
    for step in range(steps):
        if step >= steps // 2 and step % 10 == 0:
            whole.append(N_BETA * (posterior.loss.value(run.position) - center).mean())
        info = run.step()
        paired.append(N_BETA * (info.loss - info.center_loss).reshape(REPLICATES, CHAINS).mean(1))
    series = torch.stack(paired)
    means = series[steps // 2 :].mean(0) / reference - 1
    return Row(
        kernel=setting.name,
        step_size=epsilon,
        steps=steps,
        llc=reference * (1 + float(means.mean())),
        bias=float(means.mean()),
        law=float(torch.stack(whole).mean()) / reference - 1,
        error_of_bias=float(means.std()) / REPLICATES**0.5,
        predicted=predicted_bias(posterior, kernel, run, batches, reference),
        mc_error=float(means.std()),
        cost=cost_to_tolerance(series, reference, BATCH * setting.rows),
        seconds=time.monotonic() - started,
    )


def predicted_bias(
    posterior: LocalPosterior, kernel: Any, run: Run, batches: ReplicateBatches, reference: float
) -> float | None:
    if isinstance(kernel, SGNHT):  # its thermostat takes out most of what could be predicted
        return None
    if isinstance(kernel.preconditioner, RMSprop):
        kernel = replace(kernel, preconditioner=kernel.preconditioner.at(run.state.moments))
    found = step_bias(
        posterior, kernel, run.position, ChainNoise(6, len(run.position)), [batches.next() for _ in range(20)], RADIUS
    )
    return float((found.discretization + found.minibatches).mean()) / reference


def hmc_row(draws: Tensor, reference: float, started: float) -> Row:
    """The reference itself, as 16 runs of 8 chains: what exactness on all the data costs."""
    leapfrog, series = 16, draws.reshape(len(draws), -1, CHAINS).mean(2)
    means = series[len(series) // 2 :].mean(0) / reference - 1
    cost = cost_to_tolerance(series, reference, N * CHAINS * leapfrog)
    spread = float(means.std())
    return Row(
        "HMC, 16 leapfrog steps, all data", 2e-5, len(draws), reference, 0.0, 0.0, spread / series.shape[1] ** 0.5,
        0.0, spread, cost, time.monotonic() - started,
    )  # fmt: skip


def table_at(gamma: float, loss: DeepLinear) -> dict[str, Any]:
    started = time.monotonic()
    draws, run = hmc_reference(loss, gamma, 2e-5, 400, 16)
    chains = draws.mean(0)
    reference, error = float(chains.mean()), float(chains.std()) / len(chains) ** 0.5
    print(f"reference {reference:.2f} ± {error:.2f}", flush=True)
    rows = [hmc_row(draws, reference, started)]
    where = run.position[:16]
    alone = LocalPosterior(loss, loss.center, n=N, beta=1 / math.log(N), gamma=gamma)
    gradient = gradient_of_potential(alone)
    curvature = diagonal_curvature(gradient, where, ChainNoise(1, 16), RADIUS, probes=20)
    diagonal = Diagonal.from_curvature(curvature, gamma)
    low_rank = LowRank.from_curvature(gradient, loss.center[None], ChainNoise(2, 1), RADIUS, gamma, rank=60)
    posterior = posterior_of(loss, gamma, REPLICATES)
    for setting in settings(diagonal, low_rank):
        for epsilon in setting.step_sizes:
            rows.append(run_setting(posterior, setting, epsilon, reference))
            print(line(rows[-1]), flush=True)
    return {"gamma": gamma, "reference": reference, "error": error, "rows": [asdict(row) for row in rows]}


def line(row: Row) -> str:
    cost = "never" if row.cost is None else f"{row.cost:.2e}"
    predicted = "" if row.predicted is None else f"{row.predicted:7.1%}"
    return (
        f"{row.kernel:32s} ε = {row.step_size:7.0e} {row.steps:7d} steps  llc {row.llc:6.2f}  bias {row.bias:7.1%} "
        f"± {row.error_of_bias:5.1%}  law {row.law:7.1%}  predicted {predicted:7s}  mc {row.mc_error:5.1%}  "
        f"cost {cost:9s} {row.seconds:5.0f} s"
    )


def unlocalized(loss: DeepLinear, gamma: float = 1.0) -> dict[str, Any]:
    """γ = 1: the answer of HMC, what an uncorrected kernel says, and the signs that it is wrong."""
    alone = LocalPosterior(loss, loss.center, n=N, beta=1 / math.log(N), gamma=gamma)
    noise, everything = ChainNoise(11, REPLICATES * CHAINS), Batches(N, None, 0)
    start = alone.draw_localizer(len(noise), noise)
    exact = warm_up_hmc(alone, start, noise, everything, name="hmc", step_size=None, preconditioner="identity").run
    drawn = exact.advance(1200)
    chains = N_BETA * (drawn.loss - drawn.center_loss)[:, 400:].mean(1)
    found: dict[str, Any] = {
        "gamma": gamma,
        "reference": float(chains.mean()),
        "error": float(chains.std() / len(chains) ** 0.5),
        "acceptance": float(drawn.acceptance.mean()),
        "kernels": [],
    }
    print(found, flush=True)
    posterior = posterior_of(loss, gamma, REPLICATES)
    force = gradient_of_potential(alone)
    at_center = float(largest_curvature(force, loss.center[None], ChainNoise(3, 1), RADIUS, Identity()))
    met = float(largest_curvature(force, exact.position[:16], ChainNoise(4, 16), RADIUS, Identity()).max())
    found["curvature_at_center"], found["curvature_of_exact_chains"] = at_center, met
    for name, estimator in (("SGHMC c=0", Plain), ("SGHMC c=0 + control variates", ControlVariate)):
        for step_size in (0.2 / at_center, 0.2 / met):
            kernel = SGHMC(step_size, 0.0, gradient=estimator())
            batches = ReplicateBatches(BATCH, REPLICATES, 5)
            run = Run(posterior, kernel, exact.position, noise=ChainNoise(5, len(noise)), batches=batches)
            trace = run.advance(6000)
            alive = torch.from_numpy(run.alive)
            signs: dict[str, Any] = {"kernel": name, "step_size": step_size, "chains_lost": int((~alive).sum())}
            if bool(alive.any()):
                minibatches = [batches.next() for _ in range(20)]
                bias = step_bias(posterior, kernel, run.position, ChainNoise(6, len(noise)), minibatches, RADIUS)
                where = run.position[alive][:16]
                stiff = largest_curvature(force, where, ChainNoise(4, len(where)), RADIUS, Identity()).max()
                signs["llc"] = float(N_BETA * (trace.loss - trace.center_loss)[run.alive, 3000:].mean())
                signs["predicted_bias_nats"] = float(bias.minibatches[alive].mean())
                signs["stability"] = float(step_size * stiff / 4)
            found["kernels"].append(signs)
            print(signs, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/deep_linear_samplers.json"))
    parser.add_argument("--unlocalized", action="store_true", help="only γ = 1, some minutes; nothing is written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, loss = time.monotonic(), DeepLinear()
    wide = unlocalized(loss)
    if arguments.unlocalized:
        return
    localized = table_at(100.0, loss)
    best = {}
    for row in localized["rows"]:
        if row["cost"] is not None and row["cost"] < best.get(row["kernel"], (math.inf, 0))[0]:
            best[row["kernel"]] = row["cost"], row["step_size"]
    print("\ncost for 3%, at the best step size")
    for name, (cost, step) in sorted(best.items(), key=lambda item: item[1]):
        print(f"{name:32s} {cost:9.2e} sample gradients at ε = {step:g}, SGLD's over it {best['SGLD'][0] / cost:6.1f}")
    summary = {name: {"cost": cost, "step_size": step} for name, (cost, step) in best.items()}
    result = {"localized": localized, "unlocalized": wide, "best": summary, "seconds": time.monotonic() - started}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
