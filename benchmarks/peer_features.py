"""What this toolkit and other libraries do and do not do, found out by running each on a problem that watches.

The probes are `benchmarks/peers/features.py`; each library runs them in a process and an environment of its own.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from benchmarks.peers.client import OURS, PEERS, features, missing
from benchmarks.peers.features import PROBES

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
    duration="5 minutes",
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


def tables(measured: dict[str, Any]) -> list[Table]:
    libraries = measured["libraries"]
    titles = {name: "this toolkit" if name == OURS else found["version"] for name, found in libraries.items()}
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
