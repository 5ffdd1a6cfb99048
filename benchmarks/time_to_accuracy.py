"""Time to a number of stated accuracy: `estimate_llc`, told γ and the accuracy only, beside devinterp 1.3.2.

Both have the same weights, data, nβ and γ, and a single thread. Seconds are those of the processor, so that what else
the machine is doing does not count.

The reduced-rank regressions and the one-parameter model are those of devinterp's own accuracy tests, with the settings
its authors tuned for them; further step sizes are a sweep whose cost is not counted against them. The time of a run of
the peer is that from which its running estimate stays within the bound of the reference, the loss at w* being exact;
one that never does counts as its whole length. That differs from seed to seed by a factor of ten, so that the time of
the peer is the median over seeds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

import slt
from benchmarks.accuracy_problems import SHAPES, Problem, digits, one_parameter, reduced_rank
from benchmarks.deep_linear_loss import LAYERS, WIDTH, DeepLinear
from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from benchmarks.peers.client import Peer, missing
from benchmarks.peers.models import MODELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Time to accuracy, beside devinterp 1.3.2",
    claim="A number within a few percent, without a knob, in a small part of the time that a hand-tuned SGLD takes.",
    source="devinterp's accuracy tests of reduced-rank regression and of a one-parameter model; README",
    target="Reduced-rank regressions and the one-parameter model: within 5% at least 20 times faster than devinterp at "
    "its authors' settings. Digits network at γ = 100: within 3% at least 5 times faster than devinterp at its best "
    "step size within 10%. Deep linear network of 300 weights, n = 50,000, at the default γ: under 60 s.",
    criterion="Reproduced if all of these hold, the errors being root mean squares over seeds; partly if some do.",
    duration="75 minutes",
    peers=("devinterp-1",),
)
LONGER, REFERENCE_SEED = 50, 1_000_003


def ours(problem: Problem, seed: int) -> dict[str, Any]:
    """With nothing set but γ, which is part of the question, and the accuracy."""
    started = time.process_time()
    found = problem.estimate(seed, target_error=problem.within)
    seconds = time.process_time() - started
    return {"llc": found.llc, "std_error": found.std_error, "seconds": seconds, "status": found.status,
            "gradients": found.gradients, "draws": found.draws, "overhead": found.overhead}  # fmt: skip


def reference(problem: Problem, draws: int) -> dict[str, float]:
    found = problem.estimate(REFERENCE_SEED, draws=draws, max_steps=10**9)
    return {"llc": found.llc, "std_error": found.std_error}


def theirs(problem: Problem, changes: dict[str, Any], seed: int, wanted: float) -> dict[str, Any]:
    """λ̂, its error over chains, and the seconds from which the running estimate stays within the bound."""
    spec = problem.spec(changes, seed)
    with Peer("devinterp-1") as peer:
        answer = peer.estimate(spec, problem.weights, *problem.data)
    settled = answer.settled(spec.n_beta, wanted, problem.peer_within)
    steps = spec.burn_in + spec.draws
    seconds = answer.sampling_seconds * (spec.burn_in + settled) / steps if settled < spec.draws else None
    return {**changes, "seed": seed, "llc": answer.llc, "std": answer.std, "settled_seconds": seconds,
            "sampling_seconds": answer.sampling_seconds, "seconds": answer.seconds}  # fmt: skip


def deep_linear() -> dict[str, Any]:
    """The default of everything on 300 weights and 50,000 samples."""
    target = DeepLinear()
    module = MODELS["mlp"]([WIDTH] * (LAYERS + 1), activation="identity", bias=False)
    torch.nn.utils.vector_to_parameters(target.center.float(), module.parameters())
    started = time.process_time()
    found = slt.estimate_llc(module, (target.x.float(), target.y.float()), slt.gaussian_loss(1.0), progress=False)
    seconds = time.process_time() - started
    return {"llc": found.llc, "std_error": found.std_error, "seconds": seconds, "status": found.status,
            "gamma": found.gamma, "overhead": found.overhead, "reasons": found.reasons}  # fmt: skip


def problems(quick: bool) -> list[Callable[[], Problem]]:
    if quick:
        return [one_parameter]
    return [*(partial(reduced_rank, *shape) for shape in SHAPES), one_parameter, digits]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=at_least(1), default=16, help="of our own estimates")
    parser.add_argument("--peer-seeds", type=at_least(0), default=3, help="of devinterp at its authors' settings")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    absent = missing("devinterp-1")
    earlier = {} if quick or not kept.before else {row["problem"]: row for row in kept.before["problems"]}
    for make in problems(quick):
        problem = make()
        _take_over(kept, problem, earlier.get(problem.name), options.seed)
        seeds = range(options.seed, options.seed + (1 if quick else options.seeds))
        own = [kept(f"{problem.name}, seed {seed}", ours, problem, seed) for seed in seeds]
        draws = (2 if quick else LONGER) * max(one["draws"] for one in own)
        known = kept(f"reference of {problem.name}", reference, problem, draws)
        peer = []
        if not absent:
            for changes, seed in _peer_runs(problem, quick, options):
                peer.append(kept(_key(problem, changes, seed), theirs, problem, changes, seed, known["llc"]))
        asked = {name: getattr(problem, name) for name in ("gamma", "within", "peer_within", "faster")}
        rows.append({"problem": problem.name, **asked, "reference": known, "ours": own, "devinterp": peer})
    if not quick and kept.before:
        kept.add("deep linear network", kept.before["deep_linear"], 0.0)
    large = None if quick else kept("deep linear network", deep_linear)
    return {"problems": rows, "deep_linear": large, "peer_missing": absent}


def _peer_runs(problem: Problem, quick: bool, options: argparse.Namespace) -> list[tuple[dict[str, Any], int]]:
    """Settings and seeds of devinterp: its authors' settings, or on the digits all of the sweep, with every seed."""
    if quick:
        return [({**problem.specs[0], "draws": 20, "chains": 2}, options.seed)]
    seeds = range(options.seed, options.seed + options.peer_seeds)
    again = len(problem.specs) if _swept(problem.name) else 1
    return [(given, seed) for k, given in enumerate(problem.specs) for seed in (seeds if k < again else seeds[:1])]


def _swept(name: str) -> bool:
    """Whether the peer's time is that of the best of its sweep, there being no settings of its authors."""
    return name == "digits MLP"


def _key(problem: Problem, changes: dict[str, Any], seed: int) -> str:
    return f"devinterp on {problem.name}, {changes}, within {problem.peer_within:g}, seed {seed}"


def _take_over(kept: Kept, problem: Problem, row: dict[str, Any] | None, first: int) -> None:
    """What an earlier result holds is not run again, so that seeds can be added."""
    if row is None:
        return
    for seed, one in enumerate(row["ours"], start=first):
        kept.add(f"{problem.name}, seed {seed}", one, one["seconds"])
    kept.add(f"reference of {problem.name}", row["reference"], 0.0)
    for one in row["devinterp"]:
        given = next(spec for spec in problem.specs if all(one[name] == value for name, value in spec.items()))
        kept.add(_key(problem, given, one["seed"]), one, one["seconds"])


def rms(row: dict[str, Any]) -> float:
    """Root mean square of our relative errors."""
    known = row["reference"]["llc"]
    return math.sqrt(sum((one["llc"] / known - 1) ** 2 for one in row["ours"]) / len(row["ours"]))


def peer_time(row: dict[str, Any], swept: bool = False) -> tuple[float, int, int]:
    """Median seconds of the peer, at its authors' settings or (`swept`, or without such) the best of its sweep; of how
    many runs, and how many of them got within the bound for good: the others count with the whole of their length.
    """
    runs: dict[str, list[tuple[float, bool]]] = {}
    for one in row["devinterp"]:
        settled = one["settled_seconds"]
        seconds = one["sampling_seconds"] if settled is None else settled
        runs.setdefault(f"{one['step_size']}, {one.get('batch_size')}", []).append((seconds, settled is not None))
    chosen = list(runs.values()) if swept or _swept(row["problem"]) else list(runs.values())[:1]
    best = min(chosen, key=lambda found: (not any(there for _, there in found), median(s for s, _ in found)))
    return median(seconds for seconds, _ in best), len(best), sum(there for _, there in best)


def ratio(row: dict[str, Any], swept: bool = False) -> float | None:
    return peer_time(row, swept)[0] / median(one["seconds"] for one in row["ours"]) if row["devinterp"] else None


def _peer_cell(row: dict[str, Any], swept: bool = False) -> str:
    seconds, number, reached = peer_time(row, swept)
    return f"{seconds:.1f} ({reached} of {number})"


def judge(measured: dict[str, Any]) -> Verdict:
    checks = []
    for row in measured["problems"]:
        checks.append((f"{row['problem']}: error {rms(row):.1%} ({row['within']:.0%})", rms(row) <= row["within"]))
        times = ratio(row)
        if times is not None:
            checks.append((f"{times:.0f} times faster ({row['faster']:.0f})", times >= row["faster"]))
    if measured.get("peer_missing"):
        checks.append((measured["peer_missing"], False))
    large = measured["deep_linear"]
    if large:
        checks.append((f"deep linear network {large['seconds']:.0f} s (60)", large["seconds"] < 60))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    rows, sweep = [], []
    for row in measured["problems"]:
        known = row["reference"]
        times, peer, best = ratio(row), "-", "-"
        if row["devinterp"]:
            peer, best = _peer_cell(row), f"{_peer_cell(row, swept=True)}, {ratio(row, swept=True):.0f}×"
        rows.append((
            row["problem"], f"{row['gamma']:g}", f"{known['llc']:.3f} ± {known['std_error']:.2g}",
            f"{median(one['llc'] for one in row['ours']):.3f}", f"{rms(row):.1%}",
            f"{median(one['seconds'] for one in row['ours']):.2f}", peer, "-" if times is None else f"{times:.0f}",
            best,
        ))  # fmt: skip
        sweep += [
            (row["problem"], f"{one['step_size']:g}", str(one["batch_size"] if one.get("batch_size") else "all"),
             str(one["seed"]), f"{one['llc']:.3f} ± {one['std']:.2g}", f"{one['llc'] / known['llc'] - 1:+.1%}",
             f"{one['sampling_seconds']:.1f}",
             "never" if one["settled_seconds"] is None else f"{one['settled_seconds']:.1f}")
            for one in row["devinterp"]
        ]  # fmt: skip
    header = ("problem", "γ", "reference", "our median λ̂", "rms error", "our s", "devinterp s", "times faster",
              "at its best step of the sweep")  # fmt: skip
    found = [
        Table(
            header,
            rows,
            "devinterp s: until its running estimate stays within the bound, at its authors' step where there is one, "
            "median; (how many of its runs do: the others count with their whole length, which is too little). At the "
            "best step: mostly one run, chosen with hindsight.",
        )
    ]
    columns = ("problem", "ε", "batch", "seed", "devinterp's λ̂ ± std", "error", "s in all", "s until it stays within")
    return [*found, Table(columns, sweep, "devinterp at its authors' settings (first) and others")] if sweep else found


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=6.6, height=4.4)
    for place, row in enumerate(measured["problems"]):
        known = row["reference"]["llc"]
        color = f"C{place}"
        axis.plot([one["seconds"] for one in row["ours"]], [abs(one["llc"] / known - 1) for one in row["ours"]], "o",
                  color=color, label=row["problem"])  # fmt: skip
        axis.plot([one["sampling_seconds"] for one in row["devinterp"]],
                  [abs(one["llc"] / known - 1) for one in row["devinterp"]], "x", color=color)  # fmt: skip
    axis.axhline(0.05, color="0.6", linewidth=1, linestyle="--")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="seconds",
        ylabel="|relative error|",
        title="circles: ours, crosses: devinterp at the end of its runs",
    )
    axis.legend(fontsize=8)
    return figure
