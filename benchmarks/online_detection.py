"""Detection while a series grows: after how many checkpoints a transition is rung, and how often the bell rings for
nothing.

The synthetic series of `benchmarks.transitions` are shown one checkpoint at a time, as `slt track --watch` sees them.
At each look the transitions are found from what is there, and `slt.series.bell.Bell` says which are rung. A ring is
true if its transition goes the way of a true one that has begun and comes within MARGIN checkpoints of it; false
otherwise, and where the same one was rung before. The delay is counted in checkpoints, from the true beginning and from
the true end. The looks are kept, so that other rules can be held against the same series: rung at once, or after more
looks in a row.

    python -m benchmarks.online_detection [--series 20] [--output benchmarks/results/online_detection.json]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transitions import FAMILIES, Series, make
from slt.series.bell import LOOKS, Bell
from slt.trajectory import Trajectory
from slt.transitions.detection import LEAST, Transition, find_transitions

MARGIN = 3.0  # checkpoints


@dataclass(frozen=True)
class Change:
    """A true transition: where it begins and ends, in checkpoints, and which way it goes."""

    start: float
    end: float
    up: bool


def changes(series: Series) -> list[Change]:
    """The true transitions, from the boundaries and the noiseless direction (that of the levels on both sides)."""
    place = np.arange(len(series.x))
    positions = np.interp([position for position, _ in series.boundaries], series.x, place)
    pairs = (
        [(p, p) for p in positions] if series.family == "staircase" else list(zip(*[iter(positions)] * 2, strict=True))
    )
    found = []
    for start, end in pairs:
        before = series.llc[max(0, int(start) - 2) : int(start) + 1].mean()
        after = series.llc[int(np.ceil(end + 1e-9)) : int(np.ceil(end)) + 3].mean()
        found.append(Change(float(start), float(end), bool(after > before)))
    return found


Looks = list[list[Transition]]  # after each checkpoint


def look(series: Series, replicates: int) -> Looks:
    unknown = np.full(len(series.step), np.nan)
    looks: Looks = [[] for _ in range(LEAST - 1)]
    for count in range(LEAST, len(series.step) + 1):
        seen = Trajectory(
            step=series.step[:count], llc=series.llc[:count], std_error=series.error[:count], loss=unknown[:count]
        )
        looks.append(find_transitions(seen, replicates=replicates))
    return looks


def rings(series: Series, looks: Looks, needed: int) -> dict[str, Any]:
    """Delays of the true rings, and the count of the false ones."""
    place = np.arange(len(series.x))
    truth = changes(series)
    rung: set[int] = set()
    after_start, after_end, false = [], [], 0
    bell = Bell(needed)
    for now, found in enumerate(looks):
        for transition in bell.listen(found):
            start, end = np.interp(np.log([transition.start, transition.end]), series.x, place)
            fits = [
                i
                for i, change in enumerate(truth)
                if change.up == (transition.direction == "up")
                and end >= change.start - MARGIN
                and start <= change.end + MARGIN
                and now >= change.start
                and i not in rung
            ]
            if not fits:
                false += 1
                continue
            nearest = min(fits, key=lambda i: abs(truth[i].start - start))
            rung.add(nearest)
            after_start.append(now - truth[nearest].start)
            after_end.append(now - truth[nearest].end)
    return {"true": len(truth), "rung": len(rung), "after_start": after_start, "after_end": after_end, "false": false}


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    delays, ends = ([d for r in results for d in r[name]] for name in ("after_start", "after_end"))
    total = sum(r["true"] for r in results)
    found: dict[str, Any] = {
        "series": len(results),
        "false_alarms_per_series": float(np.mean([r["false"] for r in results])),
        "series_with_a_false_alarm": float(np.mean([r["false"] > 0 for r in results])),
    }
    if total:
        quantiles = dict(zip(("median", "90%"), np.quantile(delays, [0.5, 0.9]).tolist(), strict=True))
        from_end = dict(zip(("median", "90%"), np.quantile(ends, [0.5, 0.9]).tolist(), strict=True))
        found |= {"rung": sum(r["rung"] for r in results) / total, "delay": quantiles, "delay_from_end": from_end}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Online detection of transitions, measured")
    parser.add_argument("--series", type=int, default=20, help="of each of the families; of constant ones, twice that")
    parser.add_argument("--replicates", type=int, default=1, help="of the bootstrap at each look")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    started = time.monotonic()
    seen: dict[str, list[tuple[Series, Looks]]] = {}
    for family in FAMILIES:
        for _ in range(arguments.series * (2 if family == "constant" else 1)):
            series = make(family, rng)
            seen.setdefault(family, []).append((series, look(series, arguments.replicates)))
        print(f"{family}: {time.monotonic() - started:.0f} s", flush=True)
    result: dict[str, Any] = {"command": f"python -m benchmarks.online_detection --series {arguments.series}"}
    for needed in (1, 2, 3, 4, 5):
        result[f"{needed} in a row"] = {
            family: summary([rings(series, looks, needed) for series, looks in pairs]) for family, pairs in seen.items()
        }
        for family, found in result[f"{needed} in a row"].items():
            print(f"{needed} in a row, {family}: {found}")
    result["used"] = f"{LOOKS} in a row"
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
