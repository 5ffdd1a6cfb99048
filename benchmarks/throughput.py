"""Chain-steps per second against devinterp 2.0.1 and canonical-interp 0.1.5, the distance to the limit, and scaling.

    make peers                                          # once: the peers, in .venv-peers
    python -m benchmarks.throughput --json              # minutes; writes benchmarks/results/throughput.{json,png}

Every party runs SGLD on the same model and minibatch size at the same ε, γ and nβ, through its public API, in a
process of its own with the same number of threads. Measurements alternate between the parties, `--rounds` times, and
medians are reported: compare ratios within one run. A chain-step is one minibatch gradient and one update of one
chain; the toolkit's steps also hold the loss at w* on the same minibatch, and all its bookkeeping.

The limit is the bare forward and backward pass of all chains over a minibatch, by the same evaluation, in the same
process, measured in turn with whole steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import slt
from benchmarks.workloads import GAMMA, N_BETA, STEP_SIZE, WORKLOADS, Workload, mlp, next_token_loss
from samplers.batches import Batches
from samplers.engine import ModuleLoss
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.run import Run
from samplers.sgld import SGLD
from slt.losses import cross_entropy
from slt.task import DataSource

ROOT = Path(__file__).parent
PEER_PYTHON = ROOT.parent / ".venv-peers" / "bin" / "python"
PARTIES = ("slt", "slt-compiled", "devinterp", "canonical", "canonical-compiled")
TARGETS = {"mlp-330": 30.0, "mlp-109k": 2.0, "gpt-137k": 1.5}  # times devinterp
SKIPPED = 0.3  # of the steps at the front are not timed
CHAINS = (1, 4, 16, 64, 256)
WIDTHS = (16, 60, 200, 640, 3140)  # of two hidden layers: 1e3 to 1e7 parameters


def loss_of(workload: Workload) -> Callable:
    return cross_entropy if workload.inputs else lambda output, ids: next_token_loss(output, ids).mean(1)


def measure_slt(workload: Workload, evaluation: str) -> dict[str, Any]:
    """Chain-steps per second of `slt.estimate_llc`, by the clock at each step after the first few."""
    model, inputs, targets = workload.build()
    ticks: list[float] = []
    step = Run.step

    def timed(run: Run) -> Any:
        ticks.append(time.perf_counter())
        return step(run)

    Run.step = timed  # type: ignore[method-assign]
    try:
        estimate = slt.estimate_llc(
            model, (inputs, targets), loss_of(workload), sampler=SGLD(STEP_SIZE), chains=workload.chains,
            batch_size=workload.batch, draws=workload.steps, warmup=0, gamma=GAMMA, beta=N_BETA / workload.samples,
            evaluation=evaluation, extrapolate=False, progress=False,
        )  # fmt: skip
    finally:
        Run.step = step  # type: ignore[method-assign]
    kept = ticks[int(SKIPPED * len(ticks)) :]
    rate = workload.chains * (len(kept) - 1) / (kept[-1] - kept[0])
    return {"rate": rate, "seconds": estimate.seconds, "evaluation": estimate.evaluation}


def measure_overhead(
    model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor, loss: Callable, chains: int, batch: int,
    steps: int, evaluation: str = "auto", repeats: int = 5,
) -> dict[str, Any]:  # fmt: skip
    """Seconds of a whole step and of the bare forward and backward pass, medians of alternating stretches."""
    samples = len(inputs)
    function = ModuleLoss(model, loss, DataSource((inputs, targets)), evaluation=evaluation)
    posterior = LocalPosterior(function, function.center, n=samples, beta=N_BETA / samples, gamma=GAMMA)
    noise = ChainNoise(0, chains)
    batches = Batches(samples, batch, 0)
    run = Run(posterior, SGLD(STEP_SIZE), posterior.draw_localizer(chains, noise), noise=noise, batches=batches)
    if evaluation == "compile":
        function.settle(full_data=False)
    whole, bare = [], []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        run.advance(steps)
        whole.append((time.perf_counter() - started) / steps)
        started = time.perf_counter()
        for _ in range(steps):
            function.value_and_grad(run.position, batches.next())
        bare.append((time.perf_counter() - started) / steps)
    ratios = [a / b for a, b in zip(whole[1:], bare[1:], strict=True)]
    return {
        "seconds": statistics.median(whole[1:]),
        "bare_seconds": statistics.median(bare[1:]),
        "ratio": statistics.median(ratios),
        "evaluation": function.evaluation,
        "dimension": function.dimension,
    }


def worker(party: str, name: str) -> None:
    """One measurement of this toolkit for every line on standard input."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    evaluation = "compile" if party.endswith("compiled") else "auto"
    for _ in sys.stdin:
        print(json.dumps(measure_slt(WORKLOADS[name], evaluation)), flush=True)


def start(party: str, name: str, threads: int) -> subprocess.Popen:
    if party.startswith("slt"):
        command = [sys.executable, "-m", "benchmarks.throughput", "--worker", party, name]
    else:
        command = [str(PEER_PYTHON), str(ROOT / "peers" / "worker.py"), party, name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def compare(name: str, parties: tuple[str, ...], rounds: int, threads: int) -> dict[str, Any]:
    """Median rates of all parties on one workload."""
    processes = {party: start(party, name, threads) for party in parties}
    found: dict[str, list[dict]] = {party: [] for party in parties}
    for _ in range(rounds):
        for party, process in list(processes.items()):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if line:
                found[party].append(json.loads(line))
            else:  # it cannot run this workload; its worker, run by hand, says why
                processes.pop(party).communicate()
    for process in processes.values():
        process.communicate()
    result = {
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


def scaling() -> dict[str, list[dict]]:
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
            measure_overhead(mlp(32, width, width, 10), inputs, targets, cross_entropy, 4, 64, steps, repeats=3)
        )
    return {"chains": chains, "parameters": parameters}


def fit(sizes: list[float], seconds: list[float]) -> tuple[float, float]:
    """(a, b) of seconds = a + b · size, least squares of the relative error."""
    weights = 1 / np.array(seconds)
    matrix = np.stack([weights, np.array(sizes) * weights], axis=1)
    (a, b), *_ = np.linalg.lstsq(matrix, np.ones(len(sizes)), rcond=None)
    return float(a), float(b)


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    panels = (("chain", "chains", "chains (330 parameters)"), ("parameter", "dimension", "parameters (4 chains)"))
    for axis, (one, key, label) in zip(axes, panels, strict=True):
        name = f"{one}s"
        sizes = [point[key] for point in results["scaling"][name]]
        seconds = [point["seconds"] for point in results["scaling"][name]]
        a, b = results["scaling"][f"{name}_fit"]
        grid = np.geomspace(min(sizes), max(sizes), 100)
        axis.loglog(sizes, [point["bare_seconds"] for point in results["scaling"][name]], "s", label="bare pass")
        axis.loglog(sizes, seconds, "o", label="whole step")
        axis.loglog(grid, a + b * grid, "-", label=f"{a:.2g} s + {b:.2g} s per {label.split('s (')[0]}")
        axis.set(xlabel=label, ylabel="seconds per step")
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=WORKLOADS, help="one workload, without scaling")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(*options.worker)
    torch.set_num_threads(options.threads)
    parties = PARTIES if PEER_PYTHON.exists() else PARTIES[:2]
    names = [options.only] if options.only else list(WORKLOADS)
    results: dict[str, Any] = {"threads": options.threads, "rounds": options.rounds, "torch": torch.__version__}
    results["rates"] = {}
    for name in names:
        results["rates"][name] = compare(name, parties, options.rounds, options.threads)
        print(name, json.dumps(results["rates"][name]), file=sys.stderr, flush=True)
    results["limit"] = {
        name: {
            evaluation: measure_overhead(
                *WORKLOADS[name].build(), loss_of(WORKLOADS[name]), WORKLOADS[name].chains, WORKLOADS[name].batch,
                max(5, WORKLOADS[name].steps // 8), evaluation,
            )
            for evaluation in ("auto", "compile")
        }
        for name in names
    }  # fmt: skip
    if not options.only:
        results["scaling"] = scaling()
        for name, key in (("chains", "chains"), ("parameters", "dimension")):
            points = results["scaling"][name]
            results["scaling"][f"{name}_fit"] = fit([p[key] for p in points], [p["seconds"] for p in points])
        (ROOT / "results").mkdir(exist_ok=True)
        (ROOT / "results" / "throughput.json").write_text(json.dumps(results, indent=1) + "\n")
        draw(results, ROOT / "results" / "throughput.png")
    print(json.dumps(results) if options.json else table(results))
    return None


def table(results: dict[str, Any]) -> str:
    """What a person looks at."""
    lines = [f"{'workload':10} " + " ".join(f"{party:>19}" for party in PARTIES) + "  best / devinterp (target)"]
    for name, found in results["rates"].items():
        cells = " ".join(f"{found[party]['rate']:19,.0f}" if party in found else f"{'-':>19}" for party in PARTIES)
        times = f"{found['times_devinterp']:.1f} ({found['target']:g})" if "target" in found else "-"
        lines.append(f"{name:10} {cells}  {times}")
    for name, found in results["limit"].items():
        for evaluation, item in found.items():
            lines.append(
                f"{name:10} {evaluation:8} whole step / bare pass = {item['ratio']:.2f} ({item['evaluation']})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
