"""Chain-steps per second against devinterp 2.0.1 and canonical-interp 0.1.5, the distance to the limit, and scaling.

Every party runs SGLD on the same model and minibatch size at the same ε, γ and nβ, through its public API, in a
process of its own with the same number of threads. Measurements alternate between the parties, `--rounds` times, and
medians are reported: compare ratios within one run. A chain-step is one minibatch gradient and one update of one
chain; the toolkit's steps also hold the loss at w* on the same minibatch, and all its bookkeeping.

The limit is the bare forward and backward pass of all chains over a minibatch, by the same evaluation, in the same
process, measured in turn with whole steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from benchmarks.peers import client
from benchmarks.peers.models import mlp
from benchmarks.throughput_worker import loss_of, measure_overhead
from benchmarks.workloads import WORKLOADS
from slt.losses import cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Throughput beside devinterp and canonical-interp",
    claim="Chain-steps per second of SGLD at the same model, minibatch size, ε, γ and nβ, each through its public API.",
    source="docs/samplers.md, 'How fast'; devinterp 2.0.1, canonical-interp 0.1.5",
    target="At least 30 times devinterp's rate on 330 weights, 2 times on 109k, 1.5 times on a 137k GPT.",
    criterion="Reproduced if every workload reaches its target; partly if some do.",
    duration="15 minutes",
    peers=("devinterp-2", "canonical"),
)
PEER_WORKERS = {
    "devinterp": ("devinterp-2",),
    "canonical": ("canonical",),
    "canonical-compiled": ("canonical", "compiled"),
}
PARTIES = ("slt", "slt-compiled", *PEER_WORKERS)
TARGETS = {"mlp-330": 30.0, "mlp-109k": 2.0, "gpt-137k": 1.5}  # times devinterp
CHAINS = (1, 4, 16, 64, 256)
WIDTHS = (16, 60, 200, 640, 3140)  # of two hidden layers: 1e3 to 1e7 parameters


def start(party: str, name: str, threads: int) -> subprocess.Popen[str]:
    if party in PEER_WORKERS:
        peer, *compiled = PEER_WORKERS[party]
        return client.start(peer, name, *compiled, threads=threads)
    command = [sys.executable, "-m", "benchmarks.throughput_worker", party, name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def compare(name: str, parties: tuple[str, ...], rounds: int, threads: int, steps: int | None = None) -> dict[str, Any]:
    """Median rates of all parties on one workload."""
    processes = {party: start(party, name, threads) for party in parties}
    found: dict[str, list[dict[str, Any]]] = {party: [] for party in parties}
    for _ in range(rounds):
        for party, process in list(processes.items()):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{steps or WORKLOADS[name].steps}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if line:
                found[party].append(json.loads(line))
            else:  # it cannot run this workload; its worker, run by hand, says why
                processes.pop(party).communicate()
    for process in processes.values():
        process.communicate()
    result: dict[str, Any] = {
        party: {
            "rate": statistics.median(item["rate"] for item in items),
            "rates": [item["rate"] for item in items],
            "seconds": statistics.median(item["seconds"] for item in items),
            "evaluation": items[0].get("evaluation"),
        }
        for party, items in found.items()
        if items
    }
    best = max(result[party]["rate"] for party in result if party.startswith("slt"))
    if "devinterp" in result:
        result["times_devinterp"] = best / result["devinterp"]["rate"]
        result["target"] = TARGETS[name]
    peers = [result[party]["rate"] for party in result if party.startswith("canonical")]
    if peers:
        result["times_canonical"] = best / max(peers)
    return result


def scaling() -> dict[str, Any]:
    """Seconds per step over chains (mlp-330) and over parameters (two hidden layers, 4 chains), minibatches of 64."""
    small = WORKLOADS["mlp-330"].build()
    chains = [
        {"chains": c, **measure_overhead(*small, cross_entropy, c, 64, max(4, 256 // c), repeats=3)} for c in CHAINS
    ]
    parameters = []
    for width in WIDTHS:
        inputs, targets = torch.randn(256, 32), torch.randint(0, 10, (256,))
        steps = max(2, min(100, 100_000 // width**2))
        parameters.append(
            measure_overhead(mlp([32, width, width, 10]), inputs, targets, cross_entropy, 4, 64, steps, repeats=3)
        )
    points = {"chains": chains, "parameters": parameters}
    fits = {f"{name}_fit": fit([p[key] for p in points[name]], [p["seconds"] for p in points[name]])
            for name, key in (("chains", "chains"), ("parameters", "dimension"))}  # fmt: skip
    return {**points, **fits}


def fit(sizes: list[float], seconds: list[float]) -> tuple[float, float]:
    """(a, b) of seconds = a + b · size, least squares of the relative error."""
    weights = 1 / np.array(seconds)
    matrix = np.stack([weights, np.array(sizes) * weights], axis=1)
    (a, b), *_ = np.linalg.lstsq(matrix, np.ones(len(sizes)), rcond=None)
    return float(a), float(b)


def limit(name: str) -> dict[str, Any]:
    """Whole steps over bare passes, by both ways of evaluation."""
    workload = WORKLOADS[name]
    sizes = workload.chains, workload.batch, max(5, workload.steps // 8)
    return {
        evaluation: measure_overhead(*workload.build(), loss_of(workload), *sizes, evaluation)
        for evaluation in ("auto", "compile")
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=at_least(1), default=3)


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    if quick:  # no peers, no compiler
        rates = {"mlp-330": kept("mlp-330", compare, "mlp-330", PARTIES[:1], 1, options.threads, 50)}
        small = {"auto": measure_overhead(*WORKLOADS["mlp-330"].build(), cross_entropy, 4, 64, 5, repeats=1)}
        return {"threads": options.threads, "rounds": 1, "rates": rates, "limit": {"mlp-330": small}}
    parties = PARTIES[:2] if client.missing("devinterp-2") else PARTIES
    settings = f"{options.rounds} rounds, {options.threads} threads, {len(parties)} parties"
    return {
        "threads": options.threads,
        "rounds": options.rounds,
        "rates": {
            name: kept(f"{name}, {settings}", compare, name, parties, options.rounds, options.threads)
            for name in WORKLOADS
        },
        "limit": {name: kept(f"{name}, limit, {settings}", limit, name) for name in WORKLOADS},
        "scaling": kept(f"scaling, {settings}", scaling),
    }


def judge(measured: dict[str, Any]) -> Verdict:
    found = [(name, rates) for name, rates in measured["rates"].items() if "times_devinterp" in rates]
    if not found:
        return Verdict("not", "devinterp was not there to compare with: `make peers`")
    return verdict_of(
        [
            (f"{name}: {rates['times_devinterp']:.1f} times devinterp ({rates['target']:g})",
             rates["times_devinterp"] >= rates["target"])
            for name, rates in found
        ]
    )  # fmt: skip


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = []
    for name, found in measured["rates"].items():
        cells = (f"{found[party]['rate']:,.0f}" if party in found else "" for party in PARTIES)
        times = f"{found['times_devinterp']:.1f} ({found['target']:g})" if "target" in found else ""
        rows.append((name, *cells, times))
    rates = Table(
        ("workload", *PARTIES, "best / devinterp (target)"), rows, "Chain-steps per second, medians of rounds."
    )
    overhead = [
        (name, evaluation, item["evaluation"], f"{1e3 * item['seconds']:.2f}", f"{item['ratio']:.2f}")
        for name, found in measured["limit"].items()
        for evaluation, item in found.items()
    ]
    header = ("workload", "asked", "evaluation", "ms per step", "over the bare pass")
    return [
        rates,
        Table(header, overhead, "Whole steps over the bare forward and backward pass of the same minibatch."),
    ]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (beside, *axes) = figures.new(3)
    names = [*measured["rates"]]
    for k, party in enumerate(PARTIES):
        there = [(i, measured["rates"][name][party]["rate"]) for i, name in enumerate(names)
                 if party in measured["rates"][name]]  # fmt: skip
        beside.bar([i + 0.16 * (k - 2) for i, _ in there], [rate for _, rate in there], 0.15, label=party)
    beside.set_xticks(range(len(names)), names, fontsize=8)
    beside.set(yscale="log", ylabel="chain-steps per second")
    beside.legend(fontsize=7)
    panels = (("chains", "chains", "chains (330 weights)"), ("parameters", "dimension", "weights (4 chains)"))
    for axis, (name, key, label) in zip(axes, panels, strict=True):
        points = measured["scaling"][name]
        sizes = [point[key] for point in points]
        a, b = measured["scaling"][f"{name}_fit"]
        grid = np.geomspace(min(sizes), max(sizes), 100)
        axis.loglog(sizes, [point["bare_seconds"] for point in points], "s", label="bare pass")
        axis.loglog(sizes, [point["seconds"] for point in points], "o", label="whole step")
        axis.loglog(grid, a + b * grid, "-", label=f"{a:.2g} s + {b:.2g} s each")
        axis.set(xlabel=label, ylabel="seconds per step")
        axis.legend(fontsize=8)
    return figure
