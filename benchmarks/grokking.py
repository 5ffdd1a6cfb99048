"""Grokking on modular addition: λ̂ over training with and without the gradient-normal constraint, and the transition.

A GELU MLP (embedding 12, shared by both numbers; hidden 48) learns a + b mod 53 with AdamW on all training pairs at
once. Of the pairs 45% are for training and weight decay is mild, so that the test accuracy rises long after the
training accuracy (with the 95% of Panickssery & Vaintrob both rise together).

`plain` and `normal` are λ̂ by SGLD, minibatches of 64, at the same seeds: in all of weight space, and in the hyperplane
through w* normal to the gradient there. Their difference is held against the shift that a gradient makes by the
quadratic approximation, -(nβ)² gᵀA⁻¹g + ½ (nβ)³ gᵀA⁻¹HA⁻¹g with A = nβH + γ. γ = 500 keeps chains where that holds: at
the authors' γ = 5 they travel as far as |w*| itself. β = 1 rather than 1/log n makes the gradient of an unfinished
training count for more than λ̂, which is where negative values come from.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import slt
from benchmarks.harness import About, Kept, Table, Verdict, verdict_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Grokking on modular addition, with and without the gradient-normal constraint",
    claim="The constraint removes negative λ̂; the gradient's closed-form shift explains the difference; λ̂ shows a "
    "transition before the test accuracy rises.",
    source="Panickssery & Vaintrob 2023",
    target="Fewer negative λ̂ with the constraint over at least 25 checkpoints; difference and shift agree within three "
    "standard errors at 90% of them; a transition of λ̂ that begins before or at the rise of the test accuracy to 50%.",
    criterion="Reproduced if all three hold; partly if some do.",
    duration="2 minutes",
)
LEAST_CHECKPOINTS = 25
MODULUS, EMBEDDING, HIDDEN = 53, 12, 48
SHARE, RATE, DECAY, STEPS = 0.45, 0.005, 0.5, 4000
GAMMA, BETA, BATCH, STEP_SIZE = 500.0, 1.0, 64, 3e-5
CHECKPOINTS = 30


class Adder(nn.Module):
    """Logits of a + b mod p from pairs (a, b)."""

    def __init__(self, modulus: int):
        super().__init__()
        self.embedding = nn.Embedding(modulus, EMBEDDING)
        self.left = nn.Linear(EMBEDDING, HIDDEN, bias=False)
        self.right = nn.Linear(EMBEDDING, HIDDEN, bias=False)
        self.output = nn.Linear(HIDDEN, modulus, bias=False)

    def forward(self, pairs: Tensor) -> Tensor:
        first, second = self.embedding(pairs).unbind(1)
        return self.output(F.gelu(self.left(first) + self.right(second)))


def train(modulus: int, steps: int, checkpoints: int, seed: int) -> tuple[list[dict[str, Any]], tuple[Tensor, Tensor]]:
    """Checkpoints, evenly spaced in log(step + 30), and the training pairs with their sums."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Adder(modulus)
        pairs = torch.cartesian_prod(torch.arange(modulus), torch.arange(modulus))
        order = torch.randperm(len(pairs))
    sums, cut = pairs.sum(1) % modulus, int(SHARE * len(pairs))
    known, unseen = order[:cut], order[cut:]
    wanted = {round(math.exp(x)) - 30 for x in np.linspace(math.log(30), math.log(steps + 30), checkpoints)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    found = []
    for step in range(steps + 1):
        if step in wanted:
            with torch.no_grad():
                right = (model(pairs).argmax(1) == sums).float()
            accuracy = [float(right[part].mean()) for part in (known, unseen)]
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            found.append({"step": step, "train": accuracy[0], "test": accuracy[1], "weights": weights})
        optimizer.zero_grad()
        F.cross_entropy(model(pairs[known]), sums[known]).backward()
        optimizer.step()
    return found, (pairs[known], sums[known])


def estimates(
    weights: dict[str, Tensor], modulus: int, data: tuple[Tensor, Tensor], quick: bool, seed: int
) -> dict[str, Any]:
    """Both estimates at one checkpoint."""
    started, model = time.monotonic(), Adder(modulus)
    model.load_state_dict(weights)
    many = {"chains": 2, "warmup": 4, "draws": 8} if quick else {"chains": 8, "warmup": 100, "draws": 300}
    result: dict[str, Any] = {}
    for name, remedy in (("plain", None), ("normal", "gradient-normal")):
        found = slt.estimate_llc(
            model, data, sampler="sgld", preconditioner="identity", batch_size=min(BATCH, len(data[0])),
            step_size=STEP_SIZE, gamma=GAMMA, beta=BETA, remedy=remedy, extrapolate=False, seed=seed, progress=False,
            **many,
        )  # fmt: skip
        draws = found.n * found.beta * (found.trace.kept("loss") - found.trace.kept("center_loss"))
        result[name] = {"llc": found.llc, "std_error": found.std_error, "chains": draws.mean(1)}
        result |= {"shift": found.minimum.shift, "gradient": found.minimum.gradient_norm, "loss": found.center_loss}
    return {**result, "seconds": time.monotonic() - started}


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    modulus, steps, count = (7, 30, 6) if quick else (MODULUS, STEPS, CHECKPOINTS)
    found, data = train(modulus, steps, count, options.seed)
    rows = []
    for item in found:
        key = f"step {item['step']} of {steps}, seed {options.seed}"
        answer = kept(key, estimates, item.pop("weights"), modulus, data, quick, options.seed)
        rows.append({**item, **answer})
    return {"samples": len(data[0]), "rows": rows, "transitions": transitions(rows, len(data[0]))}


def transitions(rows: list[dict[str, Any]], samples: int) -> list[dict[str, Any]]:
    """Of λ̂ in the hyperplane."""
    trajectory = slt.Trajectory(
        step=np.array([row["step"] for row in rows]),
        llc=np.array([row["normal"]["llc"] for row in rows]),
        std_error=np.array([row["normal"]["std_error"] for row in rows]),
        loss=np.array([row["loss"] for row in rows]),
        n=samples, beta=BETA, gamma=GAMMA,
        chain_llc=np.array([row["normal"]["chains"] for row in rows]).T,
    )  # fmt: skip
    return [item.to_dict() for item in slt.find_transitions(trajectory)]


def rise(rows: list[dict[str, Any]]) -> float | None:
    """The step at which the test accuracy first passes 50%, between checkpoints."""
    for before, after in pairwise(rows):
        if before["test"] < 0.5 <= after["test"]:
            share = (0.5 - before["test"]) / (after["test"] - before["test"])
            return float(before["step"] + share * (after["step"] - before["step"]))
    return None


def differences(rows: list[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """(measured, error, predicted) plain less normal, from checkpoints whose curvature along the gradient is positive.

    The chains share their noise: the error is that of the difference, chain by chain.
    """
    found = []
    for row in rows:
        if row["shift"] is None:
            continue
        apart = np.array(row["plain"]["chains"]) - np.array(row["normal"]["chains"])
        independent = math.hypot(row["plain"]["std_error"], row["normal"]["std_error"])
        paired = float(apart.std(ddof=1) / math.sqrt(len(apart)))
        found.append((float(apart.mean()), min(independent, paired), row["shift"]))
    return found


def leading(measured: dict[str, Any]) -> dict[str, Any] | None:
    """The largest move of λ̂ that begins before the test accuracy passes 50%."""
    at = rise(measured["rows"])
    found = [item for item in measured["transitions"] if at is not None and item["start"] <= at]
    return max(found, key=lambda item: abs(item["change"])) if found else None


def judge(measured: dict[str, Any]) -> Verdict:
    rows, at = measured["rows"], rise(measured["rows"])
    plain, normal = (sum(row[name]["llc"] < 0 for row in rows) for name in ("plain", "normal"))
    found = differences(rows)
    agree = sum(abs(value - shift) <= 3 * error for value, error, shift in found)
    first = leading(measured)
    where = "none" if first is None else f"{first['direction']} from step {first['start']:.0f} to {first['end']:.0f}"
    return verdict_of(
        [
            (f"negative λ̂: {normal} with the constraint, {plain} without, of {len(rows)}", normal < plain),
            (
                f"difference and shift agree at {agree} of {len(found)} checkpoints (90%)",
                bool(found) and agree >= 0.9 * len(found),
            ),
            (f"{len(rows)} checkpoints (at least {LEAST_CHECKPOINTS})", len(rows) >= LEAST_CHECKPOINTS),
            (f"transition of λ̂: {where}; test accuracy passes 50% at {at and round(at)}", first is not None),
        ]
    )


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = [
        (
            str(row["step"]), f"{row['train']:.2f}", f"{row['test']:.2f}", f"{row['loss']:.4f}",
            *(f"{row[name]['llc']:.1f} ± {row[name]['std_error']:.1f}" for name in ("plain", "normal")),
            "" if row["shift"] is None else f"{row['shift']:.1f}",
        )
        for row in measured["rows"]
    ]  # fmt: skip
    at, moves = rise(measured["rows"]), []
    for item in measured["transitions"]:
        low, high = item["middle_interval"]
        lead = "" if at is None else f"{at - item['middle']:.0f} ({at - high:.0f} to {at - low:.0f})"
        moves.append((item["kind"], f"{item['start']:.0f} to {item['end']:.0f}", f"{item['change']:+.0f}", lead))
    return [
        Table(("step", "training accuracy", "test accuracy", "loss", "λ̂", "λ̂, gradient-normal", "shift by closed form"),
              rows),
        Table(("transition of λ̂", "steps", "change", "lead over the test accuracy, steps (90%)"), moves,
              "Lead: from the middle of the transition to the step at which the test accuracy passes 50%."),
    ]  # fmt: skip


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, axes = figures.new(2, width=5.2, height=3.8)
    rows = measured["rows"]
    steps = [row["step"] + 1 for row in rows]
    for name, label in (("plain", "λ̂"), ("normal", "λ̂, gradient-normal")):
        errors = [row[name]["std_error"] for row in rows]
        axes[0].errorbar(steps, [row[name]["llc"] for row in rows], yerr=errors, fmt="o-", ms=3, lw=1, label=label)
    for item in measured["transitions"]:
        axes[0].axvspan(item["start"] + 1, item["end"] + 1, color="gray", alpha=0.15, lw=0)
    axes[0].axhline(0, color="gray", lw=1)
    axes[0].set(xscale="log", xlabel="step + 1 (shaded: transitions)", ylabel="λ̂")
    other = axes[0].twinx()
    other.plot(steps, [row["train"] for row in rows], ":", color="gray", lw=1.2, label="training accuracy")
    other.plot(steps, [row["test"] for row in rows], "--", color="black", lw=1.2, label="test accuracy")
    other.set(ylabel="accuracy", ylim=(-0.02, 1.02))
    handles = [axis.get_legend_handles_labels() for axis in (axes[0], other)]
    axes[0].legend(handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], fontsize=7, loc="upper left")
    found = differences(rows)
    shifts, apart, errors = [x[2] for x in found], [x[0] for x in found], [x[1] for x in found]
    axes[1].errorbar(shifts, apart, yerr=errors, fmt="o", ms=4)
    low = min(shifts, default=-1.0)
    axes[1].plot([low, 0], [low, 0], color="gray", lw=1)
    axes[1].set(xlabel="shift of λ̂ by the gradient, closed form", ylabel="λ̂ less λ̂ gradient-normal")
    return figure
