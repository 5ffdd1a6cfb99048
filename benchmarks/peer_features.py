"""What this toolkit and other libraries do and do not do, found out by running each on a problem that watches.

The probes are `benchmarks/peers/features.py`; each library runs them in a process and an environment of its own.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from benchmarks.peers.client import OURS, PEERS, features, missing
from benchmarks.peers.features import PROBES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUICK = ("eval_mode", "random_loss", "left_alone", "command_line")
LONGEST = 180  # characters of evidence shown
ABOUT = About(
    title="What other libraries do and do not do, found out by running them",
    claim="What a library does with the caller's model, with randomness, and with a run that went wrong is not what "
    "its documentation says but what a model sees that watches it.",
    source="slt.estimate_llc, its docstring",
    target="This toolkit passes every probe, and every peer is asked.",
    criterion="Reproduced if every statement holds for this toolkit and every peer of `make peers` was asked; partly "
    "if one of the two.",
    duration="4 minutes",
    peers=("devinterp-1", "devinterp-2", "canonical", "pyro"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="default: all")


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    names = QUICK if quick else tuple(PROBES)
    peers = [] if quick else [peer for peer in options.peers if not missing(peer)]
    libraries = {name: kept(f"{name}, {len(names)} probes", features, name, *names) for name in (OURS, *peers)}
    return {"probes": {name: PROBES[name][0] for name in names}, "libraries": libraries}


def judge(measured: dict[str, Any]) -> Verdict:
    ours = measured["libraries"][OURS]["findings"]
    failed = [statement for name, statement in measured["probes"].items() if ours[name]["holds"] is not True]
    asked = len(measured["libraries"]) - 1
    passed = f"{len(ours) - len(failed)} of {len(ours)} statements hold for this toolkit"
    return verdict_of(
        [
            (f"{passed}{': not ' if failed else ''}{', '.join(failed)}", not failed),
            (f"{asked} of {len(PEERS)} peers asked", asked == len(PEERS)),
        ]
    )


def shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def titles_of(measured: dict[str, Any]) -> dict[str, str]:
    """What each library is called."""
    return {name: "this toolkit" if name == OURS else found["version"] for name, found in measured["libraries"].items()}


def tables(measured: dict[str, Any]) -> list[Table]:
    libraries = measured["libraries"]
    titles = titles_of(measured)
    words, evidence = [], []
    for name, statement in measured["probes"].items():
        findings = {library: found["findings"][name] for library, found in libraries.items()}
        words.append((statement, *(finding["word"] for finding in findings.values())))
        evidence += [
            (statement, titles[library], shortened(finding["evidence"]))
            for library, finding in findings.items()
            if finding["evidence"]
        ]
    caption = "–: the question does not arise. What decided each answer is in the next table."
    return [
        Table(("the library", *titles.values()), words, caption),
        Table(("the library", "which", "what happened"), evidence),
    ]


def draw(measured: dict[str, Any]) -> Figure:
    """The first table in colours: what holds, what does not, and where the question does not arise."""
    from matplotlib.colors import ListedColormap

    from benchmarks import figures

    probes, libraries = measured["probes"], measured["libraries"]
    figure, (axis,) = figures.new(width=9.0, height=1.2 + 0.28 * len(probes))
    findings = [[found["findings"][name] for found in libraries.values()] for name in probes]
    shades = [[1 if item["holds"] is None else 2 * item["holds"] for item in line] for line in findings]
    axis.imshow(shades, cmap=ListedColormap(["#f2b8a8", "#e6e6e6", "#a9d8b8"]), vmin=0, vmax=2, aspect="auto")
    for row, line in enumerate(findings):
        for column, item in enumerate(line):
            axis.text(column, row, item["word"], ha="center", va="center", fontsize=8)
    axis.grid(False)
    axis.set_xticks(range(len(libraries)), [title.replace(" ", "\n", 1) for title in titles_of(measured).values()])
    axis.set_yticks(range(len(probes)), probes.values(), fontsize=8)
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    return figure
