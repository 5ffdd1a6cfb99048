"""Toy model of superposition, c = 6: training runs that jump from one polygon to another, and what λ̂ says of the jumps.

f(x) = ReLU(WᵀWx + b), W in R^(2×6), x = μ e_i, loss |x - f(x)|² per sample, no further ½ (Chen, Lau, Mendel, Wei &
Murfet 2023). Every run: n = 1000 samples, batches of 20, learning rate 0.005, 4,500 epochs; all runs are rows of one
batch. They start near a 4-gon whose two free columns are not small, so that many pass by a saddle. λ̂ of each run's
checkpoints, log-spaced, by `slt.track`, at one γ and β for all.

Labels come from the loss alone: the closed form of the population's loss (`slt.zoo.superposition`), smoothed over a few
epochs, holds the level of a critical point where it stays within 1.5% of it for 20 epochs during which the age of the
run grows by a factor of 1.4, two checkpoints. Where a level gives way to another, there is a jump, from the epoch that
leaves the one to the epoch that reaches the other. The series begins where the first level is held: what comes before
is the way down from the start. More runs are trained than are followed, for in most of them nothing happens once a
level is held: followed are the first ones with a jump, and the first ones without. Settings and labels were chosen on
the runs of seed 1000.

A detected transition is right if its middle lies in a jump, or within 2 checkpoints of it; each jump and each
transition counts once. A jump lowers the loss, so what claims one is a transition typed as opposing staircases: λ̂ up,
loss down (Chen et al.'s dynamical transitions). λ̂ also sinks back, slowly, after a jump, at next to no change of the
loss; labels made of the loss know nothing of that, and the score that counts these as false alarms is given beside.
The lead is the epoch at which half
of the jump's change of log loss is done, less the one at which half of λ̂'s change is; its interval is a bootstrap over
the matched pairs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

import slt
from benchmarks.harness import About, Kept, Table, Verdict
from benchmarks.peers.models import Superposition
from benchmarks.superposition_runs import COLUMNS, EPOCHS, train
from slt.trajectory import Trajectory
from slt.transitions.detection import LEAST, Transition
from slt.zoo.superposition import polygon, superposition_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOOD, FAIR = 0.8, 0.5  # F1
ABOUT = About(
    title="Toy model of superposition: jumps during training",
    claim="Opposing staircases found in λ̂ of a training run are the jumps of its loss from one polygon to another.",
    source="Chen, Lau, Mendel, Wei & Murfet 2023; the labels are ours, of the loss alone",
    target="F1 of at least 0.8 over at least 20 runs; the lead of λ̂ over the loss with its interval, either sign.",
    criterion=f"Reproduced if F1 of the opposing staircases is at least {GOOD} over at least 20 runs; partly if it is "
    f"at least {FAIR}. F1 of all transitions is given beside.",
    duration="8 minutes",
)
GAMMA = 1 / 0.3**2  # the localizing Gaussian reaches 0.3 in each weight
TRAINED, WITH_JUMP, WITHOUT_JUMP = 40, 13, 7  # runs: trained, and followed of those with and without a jump
FIRST, CHECKPOINTS = 10, 36  # log-spaced epochs
DRAWS = 320  # of each of 8 chains
SMOOTHING = 5  # epochs
WITHIN = 0.015  # of a critical point's loss
HELD, HELD_EPOCHS = 1.4, 20  # for how long: as the ratio of epochs, and as their number
MARGIN = 2.0  # checkpoints
LEVELS = {
    name: float(superposition_loss(polygon(sides, COLUMNS, plus), COLUMNS))
    for name, sides, plus in (("4", 4, 0), ("4+", 4, 1), ("4++", 4, 2), ("5", 5, 0), ("5+", 5, 1), ("6", 6, 0))
}


def jumps(loss: np.ndarray) -> tuple[int, list[dict[str, Any]]]:
    """The epoch from which a level of the loss (epochs + 1,) is held for the first time; and where one that is held
    gives way to another: the epochs that leave it, reach the other, and have half of the way done, in log loss.
    """
    names, levels = list(LEVELS), np.log(list(LEVELS.values()))
    smooth = np.convolve(np.log(np.pad(loss, SMOOTHING // 2, mode="edge")), np.ones(SMOOTHING) / SMOOTHING, "valid")
    away = np.abs(smooth[:, None] - levels)
    level = np.where(away.min(1) < WITHIN, away.argmin(1), -1)
    starts = np.flatnonzero(np.diff(level, prepend=-2))
    ends = [*starts[1:], len(level)]
    spans = zip(starts, ends, strict=True)
    long = [(a, b) for a, b in spans if b - a >= HELD_EPOCHS and b >= HELD * a]
    held = [(a, b, level[a]) for a, b in long if level[a] >= 0]
    found = []
    for (_, left, before), (arrived, _, after) in itertools.pairwise(held):
        if before != after:
            half, sign = 0.5 * (levels[before] + levels[after]), np.sign(levels[after] - levels[before])
            middle = int(left) + int(((smooth[left : arrived + 1] - half) * sign >= 0).argmax())
            found.append(
                {"start": int(left), "middle": middle, "end": int(arrived)}
                | {"from": names[before], "to": names[after]}
            )
    return (int(held[0][0]) if held else len(loss)), found


def matched(middles: list[float], truth: list[dict[str, Any]], steps: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of detected and true, nearest first: middles in a jump or within the margin in checkpoints; once each."""

    def place(step: float) -> float:
        return float(np.interp(math.log(step), np.log(steps), np.arange(len(steps))))

    pairs = sorted(
        (abs(place(middle) - place(jump["middle"])), i, j)
        for i, middle in enumerate(middles)
        for j, jump in enumerate(truth)
        if place(jump["start"]) - MARGIN <= place(middle) <= place(jump["end"]) + MARGIN
    )
    kept: list[tuple[int, int]] = []
    for _, i, j in pairs:
        if i not in [a for a, _ in kept] and j not in [b for _, b in kept]:
            kept.append((i, j))
    return kept


def checkpoint_epochs(epochs: int, count: int) -> np.ndarray:
    """Log-spaced."""
    return np.unique(np.geomspace(FIRST, epochs, count).round().astype(int))


def chosen(labels: list[tuple[int, list[dict[str, Any]]]], last: int, with_jump: int, without: int) -> list[int]:
    """The first runs with a jump and the first without one, of those that hold a level in time."""
    settled = [number for number, (epoch, _) in enumerate(labels) if epoch < last / 4]
    some = [number for number in settled if labels[number][1]][:with_jump]
    return sorted(some + [number for number in settled if not labels[number][1]][:without])


def estimates(history: Tensor, x: Tensor, epochs: np.ndarray, draws: int) -> dict[str, Any]:
    """λ̂ of one run's checkpoints (epochs + 1, 18)."""
    task = slt.Task(Superposition(COLUMNS), (x, x), slt.gaussian_loss(0.5))  # |y - f|² is ½|y - f|²/σ² at σ² = ½
    with TemporaryDirectory() as folder:
        for epoch in epochs:
            w = history[epoch].clone()
            state = {"weight": w[: 2 * COLUMNS].reshape(2, COLUMNS), "bias": w[2 * COLUMNS :].clone()}
            save_file(state, Path(folder) / f"step_{epoch:06d}.safetensors")
        started = time.process_time()
        curve = slt.track(task, folder, Path(folder) / "run", gamma=GAMMA, draws=draws, progress=False)
    values = {name: getattr(curve, name) for name in ("step", "llc", "std_error", "chain_llc")}
    return values | {"status": list(curve.status), "cpu_seconds": time.process_time() - started}


def follow(number: int, seen: dict[str, Any], loss: np.ndarray, truth: list[dict[str, Any]]) -> dict[str, Any]:
    """One run's transitions beside its labels."""
    step = np.array(seen["step"])
    columns = {name: np.array(seen[name], dtype=float) for name in ("llc", "std_error", "chain_llc")}
    curve = Trajectory(step=step, loss=loss[step], status=tuple(seen["status"]), **columns)
    found = slt.find_transitions(curve) if curve.usable.sum() >= LEAST else []
    kept = ("start", "middle", "end", "change", "confidence", "direction", "loss")
    return {
        "run": number,
        **{name: seen[name] for name in ("step", "llc", "std_error", "status", "cpu_seconds")},
        "loss": loss[step],
        "jumps": truth,
        "transitions": [{name: item.to_dict()[name] for name in kept} for item in found],
        "claims": sum(_claims(item) for item in found),
        "matched": matched([item.middle for item in found], truth, step),
        "claims_matched": len(matched([item.middle for item in found if _claims(item)], truth, step)),
    }


def _claims(transition: Transition) -> bool:
    return transition.kind.startswith("opposing staircases")


def scores(hits: int, said: int, true: int) -> dict[str, Any]:
    """Precision, recall and F1."""
    return {
        "jumps": true,
        "detected": said,
        "matched": hits,
        "precision": hits / said if said else None,
        "recall": hits / true if true else None,
        "f1": 2 * hits / (said + true) if said + true else None,
    }


def lead(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """By how much λ̂ leads the loss over the matched pairs, in epochs and as the log of the ratio of epochs: means with
    90% bootstrap intervals."""
    pairs = [(run["jumps"][j], run["transitions"][i]) for run in runs for i, j in run["matched"]]
    if not pairs:
        return {"pairs": 0}
    epochs = np.array([jump["middle"] - item["middle"] for jump, item in pairs])
    ratios = np.array([math.log(jump["middle"] / item["middle"]) for jump, item in pairs])
    again = np.random.default_rng(0).integers(len(pairs), size=(2000, len(pairs)))
    return {
        "pairs": len(pairs),
        "first": int((epochs > 0).sum()),
        "epochs": epochs,
        "mean": epochs.mean(),
        "mean_interval": np.quantile(epochs[again].mean(1), [0.05, 0.95]),
        "median": np.median(epochs),
        "median_interval": np.quantile(np.median(epochs[again], axis=1), [0.05, 0.95]),
        "log_ratio": ratios.mean(),
        "log_ratio_interval": np.quantile(ratios[again].mean(1), [0.05, 0.95]),
    }


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    trained, last, checkpoints, draws = (3, 120, 6, 20) if quick else (TRAINED, EPOCHS, CHECKPOINTS, DRAWS)
    history, x = train(trained, last, options.seed)
    losses = superposition_loss(history.double(), COLUMNS).numpy()
    labels = [(0, []) for _ in losses] if quick else [jumps(loss) for loss in losses]
    followed = chosen(labels, last, WITH_JUMP, 1 if quick else WITHOUT_JUMP)
    epochs, runs = checkpoint_epochs(last, checkpoints), []
    for number in followed:
        settled, truth = labels[number]
        key = f"run {number} of {trained}, seed {options.seed}, {last} epochs, {checkpoints} checkpoints, {draws} draws"
        seen = kept(key, estimates, history[number], x, epochs[epochs >= settled], draws)
        runs.append(follow(number, seen, losses[number], truth))
    hits, said, true = (sum(len(run[name]) for run in runs) for name in ("matched", "transitions", "jumps"))
    right, claimed = (sum(run[name] for run in runs) for name in ("claims_matched", "claims"))
    return {
        "trained": trained,
        "trained_with_jump": sum(bool(truth) for _, truth in labels),
        "gamma": GAMMA,
        "opposing_staircases": scores(right, claimed, true),
        "all_transitions": scores(hits, said, true),
        "lead": lead(runs),
        "cpu_seconds": sum(run["cpu_seconds"] for run in runs),
        "runs": runs,
    }


def judge(measured: dict[str, Any]) -> Verdict:
    number, ahead = len(measured["runs"]), measured["lead"]
    f1 = measured["opposing_staircases"]["f1"] or 0.0
    word = "reproduced" if f1 >= GOOD and number >= 20 else "partly" if f1 >= FAIR else "not"
    why = f"over {number} runs F1 is {_score(measured['opposing_staircases'])} of opposing staircases"
    why += f", {_score(measured['all_transitions'])} of all transitions"
    if ahead["pairs"]:
        low, high = ahead["mean_interval"]
        why += f"; λ̂ leads the loss by {ahead['mean']:.0f} epochs on average (90%: {low:.0f} to {high:.0f})"
    return Verdict(word, why)


def _score(of: dict[str, Any]) -> str:
    return f"{of['f1'] or 0.0:.2f} ({of['matched']} of {of['jumps']} jumps by {of['detected']})"


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = []
    for run in measured["runs"]:
        usable = sum(status in ("ok", "warning") for status in run["status"])
        loss = [f"{jump['from']} → {jump['to']} at {jump['start']}-{jump['end']}" for jump in run["jumps"]]
        llc = [f"{item['change']:+.1f} at {item['start']:.0f}-{item['end']:.0f}" for item in run["transitions"]]
        cells = (", ".join(loss), ", ".join(llc), str(len(run["matched"])))
        rows.append((str(run["run"]), f"{usable} of {len(run['step'])}", *cells))
    header = ("run", "usable checkpoints", "jumps of the loss (epochs)", "transitions of λ̂ (epochs)", "matched")
    jumped = sum(bool(run["jumps"]) for run in measured["runs"])
    chosen_so = (
        f"The first {jumped} runs with a jump of the loss and the first {len(rows) - jumped} without one, "
        f"of {TRAINED} trained."
    )
    ahead, found = measured["lead"], [Table(header, rows, chosen_so)]
    if ahead["pairs"]:
        lines = [
            (name, f"{ahead[key]:.3g}", "{:.3g} to {:.3g}".format(*ahead[f"{key}_interval"]))
            for name, key in (
                ("mean, epochs", "mean"), ("median, epochs", "median"), ("mean log ratio of epochs", "log_ratio"),
            )
        ]  # fmt: skip
        caption = f"Lead of λ̂ over the loss; λ̂ is first in {ahead['first']} of {ahead['pairs']} pairs."
        found.append(Table(("lead", "", "90% interval"), lines, caption))
    return found


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    shown = sorted(measured["runs"], key=lambda run: -len(run["jumps"]))[:9]
    figure, axes = figures.new(3, width=4.4, height=2.9, rows=3)
    for axis, run in zip(axes, shown, strict=False):
        good = np.isin(run["status"], ("ok", "warning"))
        step, llc, error = (np.array(run[name], dtype=float) for name in ("step", "llc", "std_error"))
        axis.plot(step, run["loss"], color="C1")
        axis.set(xscale="log", title=f"run {run['run']}", xlim=(FIRST, EPOCHS), ylim=(0.04, 0.12), xlabel="epoch")
        axis.set_ylabel("loss", color="C1")
        right = axis.twinx()
        right.errorbar(step[good], llc[good], 1.96 * error[good], color="C0", fmt=".-", linewidth=1)
        right.set_ylabel("λ̂", color="C0")
        for jump in run["jumps"]:
            axis.axvspan(jump["start"], jump["end"], 0, 0.08, color="C1", alpha=0.5)
            axis.text(jump["start"], 0.0475, f"{jump['from']} → {jump['to']}", fontsize=8)
        for item in run["transitions"]:
            axis.axvspan(item["start"], item["end"], color="C0", alpha=0.12)
            axis.axvline(item["middle"], color="C0", linewidth=1, linestyle="--")
    figure.suptitle("orange bars: jumps by the loss; shaded: transitions of λ̂, half done at the dashed line")
    return figure
