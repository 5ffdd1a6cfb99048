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
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.deep_linear_loss import DeepLinear, N, ReplicateBatches, posterior_of
from benchmarks.deep_linear_runs import (
    BATCH,
    CHAINS,
    N_BETA,
    RADIUS,
    REPLICATES,
    hmc_reference,
    hmc_row,
    run_setting,
    settings,
)  # fmt: skip
from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from samplers.batches import Batches
from samplers.curvature import diagonal_curvature, gradient_of_potential, largest_curvature
from samplers.gradient import ControlVariate, Plain
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Identity
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.step_bias import step_bias
from samplers.warmup import warm_up_hmc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Samplers on a deep linear network: error, bias, cost",
    claim="Control variates, noise compensation and momentum give SGLD's error on a small part of its gradients.",
    source="docs/samplers.md",
    target="A root mean square error of 3% with a tenth of plain SGLD's sample gradients, each at its best step size; "
    "the bias of a step predicted where the chains are.",
    criterion="Reproduced if the cheapest kernel costs at most a tenth of SGLD's and the prediction is an upper "
    "bound of "
    "the measured bias, to within two of its errors, wherever that is below 20%; partly if one of these holds.",
    duration="30 minutes",
)


def localized(loss: DeepLinear, quick: bool, kept: Kept, gamma: float = 100.0) -> dict[str, Any]:
    """Every kernel at every step size. The reference is run again when a run is resumed: its chains are needed."""
    started = time.monotonic()
    drawn, run = hmc_reference(loss, gamma, 2e-5, *((10, 16, 4) if quick else (400, 16, 100)))
    chains = drawn.mean(0)
    reference, error = float(chains.mean()), float(chains.std()) / len(chains) ** 0.5
    rows: list[Any] = [asdict(hmc_row(drawn, reference, started))]
    alone = LocalPosterior(loss, loss.center, n=N, beta=1 / math.log(N), gamma=gamma)
    gradient = gradient_of_potential(alone)
    curvature = diagonal_curvature(gradient, run.position[:16], ChainNoise(1, 16), RADIUS, probes=20)
    diagonal = Diagonal.from_curvature(curvature, gamma)
    low_rank = LowRank.from_curvature(gradient, loss.center[None], ChainNoise(2, 1), RADIUS, gamma, rank=60)
    posterior, chosen, most_steps = posterior_of(loss, gamma, REPLICATES), settings(diagonal, low_rank), None
    if quick:
        chosen, most_steps = chosen[:3:2], 40
    for setting in chosen:
        for epsilon in setting.step_sizes[:1] if quick else setting.step_sizes:
            key = f"{setting.name}, ε = {epsilon:g}, γ = {gamma:g}"
            rows.append(kept(key, run_setting, posterior, setting, epsilon, reference, most_steps))
    return {"gamma": gamma, "reference": reference, "error": error, "rows": rows}


def unlocalized(loss: DeepLinear, draws: int, steps: int, gamma: float = 1.0) -> dict[str, Any]:
    """γ = 1: the answer of HMC, what an uncorrected kernel says, and the signs that it is wrong."""
    alone = LocalPosterior(loss, loss.center, n=N, beta=1 / math.log(N), gamma=gamma)
    noise, everything = ChainNoise(11, REPLICATES * CHAINS), Batches(N, None, 0)
    start = alone.draw_localizer(len(noise), noise)
    exact = warm_up_hmc(alone, start, noise, everything, name="hmc", step_size=None, preconditioner="identity").run
    drawn = exact.advance(draws)
    chains = N_BETA * (drawn.loss - drawn.center_loss)[:, draws // 3 :].mean(1)
    found: dict[str, Any] = {
        "gamma": gamma,
        "reference": float(chains.mean()),
        "error": float(chains.std() / len(chains) ** 0.5),
        "acceptance": float(drawn.acceptance.mean()),
        "kernels": [],
    }
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
            trace = run.advance(steps)
            alive = torch.from_numpy(run.alive)
            signs: dict[str, Any] = {"kernel": name, "step_size": step_size, "chains_lost": int((~alive).sum())}
            if bool(alive.any()):
                minibatches = [batches.next() for _ in range(20)]
                bias = step_bias(posterior, kernel, run.position, ChainNoise(6, len(noise)), minibatches, RADIUS)
                where = run.position[alive][:16]
                stiff = largest_curvature(force, where, ChainNoise(4, len(where)), RADIUS, Identity()).max()
                signs["llc"] = float(N_BETA * (trace.loss - trace.center_loss)[run.alive, steps // 2 :].mean())
                signs["predicted_bias_nats"] = float(bias.minibatches[alive].mean())
                signs["stability"] = float(step_size * stiff / 4)
            found["kernels"].append(signs)
    return found


def best(measured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every kernel at its cheapest step size, the cheapest kernel first."""
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(measured["localized"]["rows"], key=lambda row: row["cost"] or math.inf):
        if row["cost"] is not None:
            found.setdefault(row["kernel"], row)
    return found


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    loss, sizes = DeepLinear(), (8, 8) if quick else (1200, 6000)
    return {
        "localized": localized(loss, quick, kept),
        "unlocalized": kept(f"γ = 1, {sizes}", unlocalized, loss, *sizes),
    }


def judge(measured: dict[str, Any]) -> Verdict:
    checks, costs = [], best(measured)
    if "SGLD" in costs:
        name, cheapest = next((name, row) for name, row in costs.items() if not name.startswith("HMC"))
        ratio = costs["SGLD"]["cost"] / cheapest["cost"]
        checks.append((f"SGLD costs {ratio:.0f} times the cheapest kernel, {name} (at least 10)", ratio >= 10))
    predicted = [row for row in measured["localized"]["rows"] if row["predicted"] and row["predicted"] < 0.2]
    bounded = [row["bias"] <= row["predicted"] + 2 * row["error_of_bias"] for row in predicted]
    checks.append((f"bias within its prediction in {sum(bounded)} of {len(bounded)} settings (all)", all(bounded)))
    return verdict_of(checks)


def rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def tables(measured: dict[str, Any]) -> list[Table]:
    costs = best(measured)
    plain = costs.get("SGLD", {}).get("cost")
    summary = [
        (
            name, f"{row['step_size']:.0e}", f"{row['bias']:.1%} ± {row['error_of_bias']:.1%}", f"{row['cost']:.1e}",
            f"{plain / row['cost']:.1f}" if plain else "",
        )
        for name, row in costs.items()
    ]  # fmt: skip
    rows = [
        (
            row["kernel"], f"{row['step_size']:.0e}", f"{row['llc']:.2f}",
            f"{row['bias']:.1%} ± {row['error_of_bias']:.1%}",
            "" if row["predicted"] is None else f"{row['predicted']:.1%}", f"{row['mc_error']:.1%}",
            "never" if row["cost"] is None else f"{row['cost']:.1e}",
        )
        for row in measured["localized"]["rows"]
    ]  # fmt: skip
    far = measured["unlocalized"]
    lost = [
        (
            item["kernel"], f"{item['step_size']:.1e}", str(item["chains_lost"]), rounded(item.get("llc")),
            rounded(item.get("predicted_bias_nats")),
        )
        for item in far["kernels"]
    ]  # fmt: skip
    return [
        Table(("kernel", "ε", "bias", "cost", "SGLD's cost over it"), summary, "Each at its cheapest step size."),
        Table(("kernel", "ε", "λ̂", "bias", "predicted, at most", "Monte Carlo error", "cost"), rows, "All settings."),
        Table(
            ("kernel", "ε", "chains lost of 64", "λ̂", "bias predicted, nats"), lost,
            f"γ = 1, where HMC on all data says {far['reference']:.1f} ± {far['error']:.1f}: the step that suits w*, "
            "and the one that suits where the chains go.",
        ),
    ]  # fmt: skip


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, axes = figures.new(2, height=4.2)
    rows = [row for row in measured["localized"]["rows"] if not row["kernel"].startswith("HMC")]
    for k, name in enumerate(dict.fromkeys(row["kernel"] for row in rows)):
        mark = "o-" if k < 10 else "s--"  # colours begin again
        mine = [row for row in rows if row["kernel"] == name]
        steps = [row["step_size"] for row in mine]
        axes[0].loglog(steps, [max(abs(row["bias"]), 1e-3) for row in mine], mark, label=name, markersize=4)
        paid = [row for row in mine if row["cost"]]
        axes[1].loglog([row["step_size"] for row in paid], [row["cost"] for row in paid], mark, markersize=5)
    axes[0].set(xlabel="step size ε", ylabel="|bias|, relative")
    axes[0].axhline(0.03, color="gray", linewidth=1)
    axes[1].set(xlabel="step size ε", ylabel="sample gradients for a 3% error")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure
