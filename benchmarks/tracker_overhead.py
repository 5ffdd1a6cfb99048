"""The budget of `slt.Tracker` against what it takes: a digits network is trained for a while, tracked at each budget.

The share is measured from outside: the time spent in calls of the tracker over the time that the loop spends on its own
work. It is looked at after every step from a tenth of the training on, because a budget that is kept only at the end is
none; the worst moment is reported with the last. In the background the calls are snapshots; what the estimates take is
reported beside it, as a share of the same time (the process's start not counted), and the loop's steps per second
beside those without a tracker.

    python -m benchmarks.tracker_overhead [--seconds 60] [--output benchmarks/results/tracker_overhead.json]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import slt

BUDGETS = (0.05, 0.1, 0.3)
TOLERANCE = 0.02
EVERY = 20  # steps
FEW, COARSE = 400, {"chains": 4, "draws": 20}  # samples and draws: estimates of a second, for trainings of a minute


def train(seconds: float, tracker: slt.Tracker | None) -> dict[str, float]:
    """Train until the loop's own work has taken `seconds`."""
    x, y = digits()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    own = tracked = worst = 0.0
    step = 0
    while own < seconds:
        begun = time.perf_counter()
        rows = torch.randint(len(x), (256,))
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        between = time.perf_counter()
        if tracker is not None:
            tracker(step, model)
        tracked += time.perf_counter() - between
        own += between - begun
        step += 1
        if own > seconds / 10:
            worst = max(worst, tracked / own)
    return {"steps": step, "own_seconds": own, "share": tracked / own, "worst_share": worst}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    bunch = load_digits()
    return torch.tensor(bunch.data / 16, dtype=torch.float32), torch.tensor(bunch.target)


def main() -> int:
    parser = argparse.ArgumentParser(description="The tracker's budget, measured")
    parser.add_argument("--seconds", type=float, default=60, help="of training at each budget")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plain = train(min(5.0, arguments.seconds), None)
    rows: list[dict[str, Any]] = []
    print("budget  where       share  worst  process  estimates  passed over  steps/s of untracked")
    for background in (False, True):
        for budget in BUDGETS:
            tracker = slt.Tracker(
                tuple(part[:FEW] for part in digits()), EVERY, budget=budget, background=background, **COARSE
            )
            found = train(arguments.seconds, tracker)
            tracker.wait()
            process = tracker.seconds / found["own_seconds"] if background else 0.0
            estimates = len(tracker.news())
            speed = (found["steps"] / found["own_seconds"]) / (plain["steps"] / plain["own_seconds"])
            where = "background" if background else "loop"
            rows.append(
                {"budget": budget, "where": where, "estimates": estimates, "passed_over": tracker.passed_over}
                | {**found, "process_share": process, "speed": speed}
            )
            print(
                f"{budget:6.2f}  {where:10s} {found['share']:6.3f} {found['worst_share']:6.3f}  {process:7.3f}"
                f"  {estimates:9d}  {tracker.passed_over:11d}  {speed:.2f}",
                flush=True,
            )
    taken = [(row["budget"], row["process_share"] if row["where"] == "background" else row["share"]) for row in rows]
    kept = all(abs(share - budget) <= TOLERANCE for budget, share in taken)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        result = {"command": f"python -m benchmarks.tracker_overhead --seconds {arguments.seconds:g}", "rows": rows}
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print("the budget is kept" if kept else "the budget is NOT kept within 2 percentage points")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
