"""How fast a series is: `slt track` against one `slt estimate` after the other, whole processes with their start-up.

    python -m benchmarks.series_speed --checkpoints runs/digits

takes the folder that `examples/digits/train.py` writes. The separate runs are timed on every tenth checkpoint, at the
series' γ, and scaled up. Seconds by the clock mean something on an idle machine only, those of processors on any. Then
a really small network (178 weights, 40 checkpoints), its chains in one batch and one checkpoint after the other, in one
process: processor seconds, and whether the results are the same. Table on standard output, figures in
benchmarks/results/series_speed.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file

import slt
import slt.series.tracking

RESULTS = Path(__file__).parent / "results" / "series_speed.json"
DIGITS = Path(__file__).parent.parent / "examples" / "digits" / "task.py"
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


def digits(checkpoints: Path) -> dict[str, float]:
    """Seconds of the series with one and two workers, and of as many separate runs."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            run = f"{folder}/{workers}"
            found[f"track_{workers}"], found[f"track_{workers}_cpu"] = seconds(
                "track", str(DIGITS), str(checkpoints), "-o", run, "--workers", str(workers), "--no-progress"
            )
        first, second = (slt.read_trajectory(f"{folder}/{workers}") for workers in (1, 2))
        error = np.abs(first.std_error / first.llc)[first.usable]
        scale = ["--gamma", repr(first.gamma), "--beta", repr(first.beta)]
    found |= {
        "checkpoints": len(first.step),
        "usable": int(first.usable.sum()),
        "within_5_percent": int((error <= 0.05).sum()),
        "same_with_two_workers": bool(np.array_equal(first.llc, second.llc, equal_nan=True)),
    }
    files = sorted(checkpoints.glob("*.safetensors"))
    sample = [seconds("estimate", str(DIGITS), str(path), *scale) for path in files[EVERY // 2 :: EVERY]]
    found["separate"], found["separate_cpu"] = (float(x) * len(files) for x in np.mean(sample, axis=0))
    found |= {f"ratio_{workers}": found["separate"] / found[f"track_{workers}"] for workers in (1, 2)}
    return found | {"ratio_cpu": found["separate_cpu"] / found["track_1_cpu"]}


def small() -> dict[str, float]:
    """Processor seconds of a small network's series in one batch of chains, and one checkpoint after the other."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "task.py").write_text(SMALL_TASK)
        task = slt.load_task(folder / "task.py")
        torch.manual_seed(0)
        network, (x, y) = slt.load_task(folder / "task.py").model, task.data
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        steps = {*np.geomspace(10, 4000, 40).round().astype(int).tolist()}
        for step in range(4001):
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


def main() -> None:
    """The benchmark."""
    parser = argparse.ArgumentParser(description="Seconds of a series, and of separate estimates.")
    parser.add_argument("--checkpoints", type=Path, required=True, help="what examples/digits/train.py wrote")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {"digits": digits(arguments.checkpoints), "small": small()}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    for name, figures in found.items():
        print(name)
        for what, value in figures.items():
            print(f"  {what:24s} {value:8.2f}" if isinstance(value, float) else f"  {what:24s} {value!s:>8s}")


if __name__ == "__main__":
    main()
