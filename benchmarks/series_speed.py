"""How fast a series is: `slt track` against one `slt estimate` after the other, whole processes with their start-up.

The digits series is that of `examples/digits/train.py`. The separate runs are timed on every tenth checkpoint, at the
series' γ, and scaled up. Seconds by the clock mean something on an idle machine only, those of processors on any. Then
a really small network (178 weights, 40 checkpoints), its chains in one batch and one checkpoint after the other, in one
process: processor seconds, and whether the results are the same.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file

import slt
import slt.series.tracking
from benchmarks.harness import About, Kept, Table, Verdict, verdict_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MINUTES, RATIO, PRECISE = 5, 5.0, 0.05
ABOUT = About(
    title="Speed of a series of checkpoints",
    claim="`slt track` on the 60 checkpoints of the digits MLP takes minutes, and much less than separate estimates.",
    source="README, 'A series of checkpoints'",
    target=f"60 checkpoints to {PRECISE:.0%} each in under {MINUTES} minutes on 2 cores, and at least {RATIO:g} times "
    "faster than 60 runs of `slt estimate`; the same bits however the work is spread.",
    criterion="Reproduced if all hold, partly if some. The ratio is that of processor seconds.",
    duration="10 minutes",
)
EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
DIGITS = EXAMPLE / "task.py"
EVERY = 10
SMALL_TASK = """
import torch
from torch import nn

def model():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))

def data():
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] * x[:, 1] > 0).long()
"""


def seconds(*arguments: str) -> tuple[float, float]:
    """What one `slt` command takes, start-up included: seconds by the clock, and of processors, workers included."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "slt", *arguments], capture_output=True, text=True)
    if done.returncode == 2:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, spent


def digits(given: Path | None) -> dict[str, float]:
    """Seconds of the series with one and two workers, and of as many separate runs."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = given or Path(folder) / "digits"
        if given is None:
            subprocess.check_call([sys.executable, str(EXAMPLE / "train.py"), "--output", str(checkpoints)])
        for workers in (1, 2):
            run = f"{folder}/{workers}"
            found[f"track_{workers}"], found[f"track_{workers}_cpu"] = seconds(
                "track", str(DIGITS), str(checkpoints), "-o", run, "--workers", str(workers), "--no-progress"
            )
        first, second = (slt.read_trajectory(f"{folder}/{workers}") for workers in (1, 2))
        error = np.abs(first.std_error / first.llc)[first.usable]
        scale = ["--gamma", repr(first.gamma), "--beta", repr(first.beta)]
        files = sorted(checkpoints.glob("*.safetensors"))
        sample = [seconds("estimate", str(DIGITS), str(path), *scale) for path in files[EVERY // 2 :: EVERY]]
    found |= {
        "checkpoints": len(first.step),
        "usable": int(first.usable.sum()),
        "within_5_percent": int((error <= PRECISE).sum()),
        "same_with_two_workers": bool(np.array_equal(first.llc, second.llc, equal_nan=True)),
    }
    found["separate"], found["separate_cpu"] = (float(x) * len(files) for x in np.mean(sample, axis=0))
    found |= {f"ratio_{workers}": found["separate"] / found[f"track_{workers}"] for workers in (1, 2)}
    return found | {"ratio_cpu": found["separate_cpu"] / found["track_1_cpu"]}


def small(checkpoints: int, last: int) -> dict[str, float]:
    """Processor seconds of a small network's series in one batch of chains, and one checkpoint after the other."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "task.py").write_text(SMALL_TASK)
        task = slt.load_task(folder / "task.py")
        torch.manual_seed(0)
        network, (x, y) = slt.load_task(folder / "task.py").model, task.data
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        steps = {*np.geomspace(10, last, checkpoints).round().astype(int).tolist()}
        for step in range(last + 1):
            if step in steps:
                save_file(network.state_dict(), folder / f"step_{step:06d}.safetensors")
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
        found["checkpoints"] = len(steps)
        curves = {}
        for how in ("warm", "together", "alone"):  # the first is thrown away: caches, imports
            one_by_one = mock.patch.object(slt.series.tracking, "checkpoints_at_once", return_value=1)
            with one_by_one if how == "alone" else nullcontext():
                started = time.process_time()
                curves[how] = slt.track(folder / "task.py", folder, folder / how, progress=False)
                found[how] = time.process_time() - started
        found["same"] = bool(np.array_equal(curves["together"].llc, curves["alone"].llc))
    del found["warm"]
    return found | {"ratio": found["alone"] / found["together"]}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoints", type=Path, help="what examples/digits/train.py wrote; default: it is run")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    if quick:
        return {"digits": None, "small": kept("small", small, 4, 200)}
    return {"digits": kept("digits", digits, options.checkpoints), "small": kept("small", small, 40, 4000)}


def judge(measured: dict[str, Any]) -> Verdict:
    small, digits = measured["small"], measured["digits"]
    checks = [(f"the same bits in one batch of chains: {small['same']}", small["same"])]
    if digits:
        took, ratio, precise = digits["track_2"] / 60, digits["ratio_cpu"], digits["within_5_percent"]
        checks += [
            (f"{took:.1f} minutes on 2 cores (under {MINUTES})", took < MINUTES),
            (f"{ratio:.1f} times faster than separate runs (at least {RATIO:g})", ratio >= RATIO),
            (f"{precise} of {digits['checkpoints']} to {PRECISE:.0%} (all)", precise == digits["checkpoints"]),
            (f"the same bits with two workers: {digits['same_with_two_workers']}", digits["same_with_two_workers"]),
        ]
    return verdict_of(checks)


def measurements(measured: dict[str, Any]) -> list[tuple[str, float | None, float]]:
    """What was timed, seconds by the clock, processor seconds."""
    small, digits, found = measured["small"], measured["digits"], []
    if digits:
        timed = len(range(EVERY // 2, digits["checkpoints"], EVERY))
        separate = f"digits, separate runs ({timed} timed, scaled up to {digits['checkpoints']})"
        for name, key in (
            ("digits, slt track, 1 worker", "track_1"), ("digits, slt track, 2 workers", "track_2"),
            (separate, "separate"),
        ):  # fmt: skip
            found.append((name, digits[key], digits[f"{key}_cpu"]))
    found.append(("178 weights, chains in one batch", None, small["together"]))
    found.append(("178 weights, one by one", None, small["alone"]))
    return found


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = [
        (name, "" if clock is None else f"{clock:.0f}", f"{processor:.1f}" if clock is None else f"{processor:.0f}")
        for name, clock, processor in measurements(measured)
    ]
    return [Table(("what", "seconds by the clock", "processor seconds"), rows)]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=6.4, height=2.6)
    found = measurements(measured)[::-1]
    bars = axis.barh(range(len(found)), [processor for _, _, processor in found], height=0.6)
    axis.bar_label(bars, fmt="%.3g s", padding=3, fontsize=8)
    axis.set_yticks(range(len(found)), [name for name, _, _ in found], fontsize=8)
    axis.set(xscale="log", xlabel="processor seconds")
    axis.margins(x=0.2)
    return figure
