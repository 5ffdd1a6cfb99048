"""Toy model of superposition, c = 6: training runs that jump from one polygon to another, and what λ̂ says of the jumps.

f(x) = ReLU(WᵀWx + b), W in R^(2×6), x = μ e_i, loss |x - f(x)|² per sample, no further ½ (Chen, Lau, Mendel, Wei &
Murfet 2023). Every run: n = 1000 samples, batches of 20, learning rate 0.005, 4,500 epochs, from near a 4-gon; all runs
are rows of one batch. λ̂ of each run's checkpoints by `slt.track`, at one γ and β for all.

Labels come from the loss alone: the closed form of the population's loss (`slt.zoo.superposition`), smoothed over a few
epochs, holds the level of a critical point where it stays within 2.5% of it for 20 epochs; where a level gives way to
another, there is a jump. What comes before the first level is the way down from the start, and counts neither as a
jump nor as a false alarm. A detected transition is right if it lies within 2 checkpoints of a jump, each jump counted
once. The lead is that of `slt.find_transitions`: by how many steps half of λ̂'s change is done before half of the
loss's; its interval over runs is a bootstrap of the mean over the matched jumps.

    python -m benchmarks.superposition_training [--runs 20] [--output benchmarks/results/superposition_training.json]

No results are kept: in a trial, stopped after 8 of 20 runs, 2 of 7 jumps were matched. `DRAWS`, `GAMMA`
and the labels are first guesses.

The training takes a minute, the 36 estimates of a run about ten seconds. Estimates are kept in --work, so that a second
call goes on from there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import slt
from slt.zoo.superposition import polygon, superposition_loss

COLUMNS, SAMPLES, BATCH, RATE, EPOCHS = 6, 1000, 20, 0.005, 4500
START_PLUS, SPREAD = 2, 0.3  # starting points: a 4++-gon, and noise
GAMMA = 1 / 0.3**2  # the localizing Gaussian reaches 0.3 in each weight
FIRST, CHECKPOINTS = 8, 36  # log-spaced epochs
DRAWS = 60  # of each of 8 chains
SMOOTHING = 5  # epochs
WITHIN, HELD = 0.025, 20  # of a critical point's loss, for that many epochs: then its level is held
MARGIN = 2  # checkpoints
LEVELS = {
    name: float(superposition_loss(polygon(sides, COLUMNS, plus), COLUMNS))
    for name, sides, plus in (("4", 4, 0), ("4+", 4, 1), ("4++", 4, 2), ("5", 5, 0), ("5+", 5, 1), ("6", 6, 0))
}


class Autoencoder(nn.Module):
    """f(x) = ReLU(WᵀWx + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(2, COLUMNS)), nn.Parameter(torch.zeros(COLUMNS))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (..., 6) of inputs (..., 6)."""
        return torch.relu(x @ self.weight.T @ self.weight + self.bias)


def samples(seed: int) -> Tensor:
    """(1000, 6): one feature each, uniform in size."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.zeros(SAMPLES, COLUMNS)
    x[torch.arange(SAMPLES), torch.randint(COLUMNS, (SAMPLES,), generator=rng)] = torch.rand(SAMPLES, generator=rng)
    return x


def train(runs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights (runs, epochs + 1, 18) after every epoch, and the data (1000, 6), by minibatch SGD, all runs at once."""
    rng = torch.Generator().manual_seed(seed)
    x = samples(seed)
    w = polygon(4, COLUMNS, START_PLUS).float() + SPREAD * torch.randn(runs, 3 * COLUMNS, generator=rng)
    history = torch.empty(runs, EPOCHS + 1, 3 * COLUMNS)
    history[:, 0] = w
    weight, bias = w[:, : 2 * COLUMNS].reshape(runs, 2, COLUMNS).contiguous(), w[:, 2 * COLUMNS :].clone()
    for epoch in range(1, EPOCHS + 1):
        order = torch.rand(runs, SAMPLES, generator=rng).argsort(1)
        for batch in x[order].split(BATCH, dim=1):
            hidden = batch @ weight.mT
            output = torch.relu(hidden @ weight + bias[:, None])
            slope = (output - batch) * (output > 0) * (2 / BATCH)
            step = hidden.mT @ slope + (slope @ weight.mT).mT @ batch
            weight -= RATE * step
            bias -= RATE * slope.sum(1)
        history[:, epoch] = torch.cat([weight.flatten(1), bias], 1)
    return history, x


def jumps(loss: np.ndarray) -> tuple[int, list[dict[str, Any]]]:
    """The epoch from which a level of the loss (epochs + 1,) is held for the first time; and where one that is held
    gives way to another: the epoch at which half of the way is done, in log loss, and the two levels' names.
    """
    names, levels = list(LEVELS), np.log(list(LEVELS.values()))
    smooth = np.convolve(np.log(np.pad(loss, SMOOTHING // 2, mode="edge")), np.ones(SMOOTHING) / SMOOTHING, "valid")
    away = np.abs(smooth[:, None] - levels)
    level = np.where(away.min(1) < WITHIN, away.argmin(1), -1)
    starts = np.flatnonzero(np.diff(level, prepend=-2))
    ends = [*starts[1:], len(level)]
    held = [(a, b, level[a]) for a, b in zip(starts, ends, strict=True) if b - a >= HELD and level[a] >= 0]
    found = []
    for (_, left, before), (arrived, _, after) in itertools.pairwise(held):
        if before != after:
            half, sign = 0.5 * (levels[before] + levels[after]), np.sign(levels[after] - levels[before])
            epoch = int(left) + int(((smooth[left : arrived + 1] - half) * sign >= 0).argmax())
            found.append({"epoch": epoch, "from": names[before], "to": names[after]})
    return (int(held[0][0]) if held else len(loss)), found


def matched(middles: list[float], truth: list[float], steps: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of detected and true, nearest first, within the margin in checkpoints; each is used once."""
    place = lambda step: float(np.interp(step, steps, np.arange(len(steps))))  # noqa: E731
    pairs = sorted((abs(place(a) - place(b)), i, j) for i, a in enumerate(middles) for j, b in enumerate(truth))
    kept: list[tuple[int, int]] = []
    for distance, i, j in pairs:
        if distance <= MARGIN and i not in [a for a, _ in kept] and j not in [b for _, b in kept]:
            kept.append((i, j))
    return kept


def checkpoint_epochs() -> np.ndarray:
    """Log-spaced."""
    return np.unique(np.geomspace(FIRST, EPOCHS, CHECKPOINTS).round().astype(int))


def follow(number: int, history: Tensor, x: Tensor, work: Path) -> dict[str, Any]:
    """One run: labels from its loss, λ̂ of its checkpoints, transitions."""
    population = superposition_loss(history[number].double(), COLUMNS).numpy()
    epochs = checkpoint_epochs()
    folder = work / f"run_{number:02d}"
    (folder / "series").mkdir(parents=True, exist_ok=True)
    for epoch in epochs:
        w = history[number, epoch]
        state = {"weight": w[: 2 * COLUMNS].reshape(2, COLUMNS).contiguous(), "bias": w[2 * COLUMNS :].contiguous()}
        save_file(state, folder / "series" / f"step_{epoch:06d}.safetensors")
    task = slt.Task(Autoencoder(), (x, x), slt.gaussian_loss(0.5))  # |y - f|² is ½|y - f|²/σ² at σ² = ½
    started = time.process_time()
    curve = slt.track(task, folder / "series", folder / "llc", gamma=GAMMA, draws=DRAWS, progress=False)
    seconds = time.process_time() - started
    settled, truth = jumps(population)
    found = slt.find_transitions(curve) if curve.usable.sum() >= 5 else []
    found = [item for item in found if item.middle > settled]  # before it, the run comes down from where it began
    pairs = matched([item.middle for item in found], [jump["epoch"] for jump in truth], curve.step)
    return {
        "run": number,
        "seconds": seconds,
        "step": curve.step.tolist(),
        "llc": curve.llc.tolist(),
        "std_error": curve.std_error.tolist(),
        "status": list(curve.status),
        "loss": population[curve.step].tolist(),
        "settled": settled,
        "jumps": truth,
        "transitions": [item.to_dict() for item in found],
        "matched": pairs,
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """F1 over all runs, and the lead over the matched jumps with a 90% bootstrap interval of its mean and median."""
    hits = sum(len(run["matched"]) for run in runs)
    said, true = sum(len(run["transitions"]) for run in runs), sum(len(run["jumps"]) for run in runs)
    leads = [
        run["transitions"][i]["lead"] for run in runs for i, _ in run["matched"]
        if run["transitions"][i]["lead"] is not None
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    again = rng.choice(leads, (2000, len(leads))) if leads else np.full((1, 1), math.nan)
    usable = sum(status in ("ok", "warning") for run in runs for status in run["status"])
    return {
        "runs": len(runs),
        "gamma": GAMMA,
        "estimates": sum(len(run["status"]) for run in runs),
        "usable": usable,
        "cpu_seconds": sum(run["seconds"] for run in runs),
        "jumps": true,
        "detected": said,
        "matched": hits,
        "precision": hits / said if said else math.nan,
        "recall": hits / true if true else math.nan,
        "f1": 2 * hits / (said + true) if said + true else math.nan,
        "leads": leads,
        "lead_mean": float(np.mean(leads)) if leads else math.nan,
        "lead_mean_interval": np.quantile(again.mean(1), [0.05, 0.95]).tolist(),
        "lead_median": float(np.median(leads)) if leads else math.nan,
        "lead_median_interval": np.quantile(np.median(again, 1), [0.05, 0.95]).tolist(),
    }


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Loss and λ̂ of the first runs, jumps and transitions marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = sorted(runs, key=lambda run: -len(run["jumps"]))[:12]
    figure, axes = pyplot.subplots(4, 3, figsize=(13, 12), sharex=True, layout="constrained")
    for axis, run in zip(axes.flat, shown, strict=False):
        good = np.isin(run["status"], ("ok", "warning"))
        step, llc, error = (np.array(run[name]) for name in ("step", "llc", "std_error"))
        axis.plot(step, run["loss"], color="#b3560b")
        axis.set(xscale="log", title=f"run {run['run']}")
        axis.set_ylim(0.04, 0.14)
        right = axis.twinx()
        right.errorbar(step[good], llc[good], 1.96 * error[good], color="#1f6feb", fmt=".-", linewidth=1)
        for jump in run["jumps"]:
            axis.axvline(jump["epoch"], color="#b3560b", linestyle="--", linewidth=1)
            axis.text(
                jump["epoch"], 0.137, f"{jump['from']}→{jump['to']}", fontsize=8, ha="right", rotation=90, va="top"
            )
        for item in run["transitions"]:
            axis.axvspan(item["start"], item["end"], color="#1f6feb", alpha=0.15)
    figure.suptitle("loss (orange, left; dashed: its jumps) and λ̂ (blue, right; shaded: transitions) over epochs")
    figure.savefig(path, dpi=80)


def main() -> None:
    """The benchmark."""
    parser = argparse.ArgumentParser(description="Transitions of training runs of the toy model of superposition.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/superposition"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/superposition_training.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    kept = arguments.work / f"history_{arguments.runs}_{arguments.seed}.pt"
    if kept.exists():
        history, x = torch.load(kept, weights_only=True)
    else:
        history, x = train(arguments.runs, arguments.seed)
        torch.save((history, x), kept)
    runs = []
    for number in range(arguments.runs):
        runs.append(follow(number, history, x, arguments.work))
        run = runs[-1]
        told = " ".join(f"{jump['from']}>{jump['to']}@{jump['epoch']}" for jump in run["jumps"]) or "no jump"
        said = " ".join(f"{item['direction']}@{item['middle']:.0f}" for item in run["transitions"]) or "none"
        print(
            f"run {number:2d}  {run['seconds']:5.1f} s  loss: {told}  llc: {said}  matched {len(run['matched'])}",
            flush=True,
        )
    found = summary(runs)
    arguments.output.write_text(json.dumps({"summary": found, "runs": runs}, indent=1) + "\n")
    draw(runs, arguments.output.with_suffix(".png"))
    for name, value in found.items():
        print(f"{name:22s} {value}")


if __name__ == "__main__":
    main()
