"""What a benchmark is, and how its result is measured, judged and kept.

A benchmark is a module with

    ABOUT: About                                     what it claims, whose figures it is held to, how long it takes
    add_options(parser)                              its own options, if it has any
    run(quick, options, kept) -> dict                the measurements, as JSON; quick: tiny settings, seconds
    judge(measured) -> Verdict                       by the criterion that ABOUT states, from the measurements alone
    tables(measured) -> list[Table]                  what a person reads
    draw(measured) -> Figure                         the figure, where one makes sense

Verdicts, tables and figures are functions of the measurements, so that they can be made again without running anything.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from benchmarks.machine import machine, versions
from samplers.errors import InputError
from slt.files import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
VERDICTS = ("reproduced", "partly", "not")
KEYS = ("machine", "versions", "seed", "seconds", "target", "measured", "verdict", "command")  # of every result


@dataclass(frozen=True)
class About:
    """What a benchmark is."""

    title: str  # one line
    claim: str  # what is claimed, by whom
    source: str  # the page here that makes the claim, or the paper: authors, year
    target: str  # in words and numbers
    criterion: str  # when the verdict is `reproduced`; when `partly`
    duration: str  # of a whole run on one CPU core
    whole: str | None = None  # options that measure everything, where a result also holds what earlier runs measured
    peers: tuple[str, ...] = ()  # of benchmarks.peers.client, whose versions belong to the result


@dataclass(frozen=True)
class Verdict:
    """One of `reproduced`, `partly`, `not`, and what decided it."""

    word: str
    why: str


def verdict_of(checks: Sequence[tuple[str, bool]]) -> Verdict:
    """`reproduced` if every check (what was found beside its bound, whether it holds) holds, `not` if none does."""
    held = sum(good for _, good in checks)
    word = "reproduced" if held == len(checks) else "partly" if held else "not"
    return Verdict(word, "; ".join(text if good else f"MISSED: {text}" for text, good in checks))


@dataclass(frozen=True)
class Table:
    """Cells as text; `caption` says what the columns are where their names do not."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""

    def __str__(self) -> str:
        columns = list(zip(self.header, *self.rows, strict=True))
        widths = [max(len(cell) for cell in column) for column in columns]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in
                 (self.header, *self.rows)]  # fmt: skip
        return "\n".join([*([self.caption] if self.caption else []), *lines])


class Kept:
    """Finished items of a run, on disk as soon as they are computed: a killed run goes on where it was.

    A key names all that its item depends on: model, seed, settings.
    """

    def __init__(self, path: Path | None = None, before: Any = None):
        self.path = path
        self.before = before  # what the output file held before this run, or None
        self.seconds = 0.0  # that the items used took in earlier runs
        self._items: dict[str, dict[str, Any]] = read(path) if path and path.exists() else {}
        self._used: set[str] = set()

    def add(self, key: str, value: Any, seconds: float) -> None:
        """Take over an item computed elsewhere, such as in an earlier result."""
        self._items.setdefault(key, {"value": plain(value), "seconds": seconds})

    def __call__(self, key: str, compute: Callable[..., Any], *arguments: Any) -> Any:
        """The item, as JSON: the one kept under this key, or compute(*arguments)."""
        if key in self._items:
            if key not in self._used:
                self.seconds += self._items[key]["seconds"]
        else:
            started = time.monotonic()
            value = plain(compute(*arguments))
            self._items[key] = {"value": value, "seconds": time.monotonic() - started}
            print(f"  {key}: {self._items[key]['seconds']:.1f} s", flush=True)
            if self.path:
                with written_whole(self.path) as partial:
                    partial.write_text(json.dumps(self._items, ensure_ascii=False))
        self._used.add(key)
        return self._items[key]["value"]

    def forget(self) -> None:
        """Drop what a finished result now holds."""
        if self.path:
            self.path.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """As JSON has it: numbers of numpy and torch, tuples and dataclasses become plain; no NaN, no infinity: null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Benchmark(Protocol):
    """The functions that every module of `NAMES` has."""

    ABOUT: About

    def run(self, quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]: ...
    def judge(self, measured: dict[str, Any]) -> Verdict: ...
    def tables(self, measured: dict[str, Any]) -> list[Table]: ...


def load(name: str) -> Benchmark:
    return cast(Benchmark, importlib.import_module(f"benchmarks.{name}"))


def drawing(benchmark: Benchmark) -> Callable[[dict[str, Any]], Figure] | None:
    return getattr(benchmark, "draw", None)


def at_least(least: int) -> Callable[[str], int]:
    """For argparse: a whole number from there on."""

    def whole(text: str) -> int:
        if not text.strip().removeprefix("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, got {text!r}")
        return int(text)

    return whole


def parser_of(name: str) -> argparse.ArgumentParser:
    """Options that every benchmark has, and the benchmark's own."""
    benchmark = load(name)
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=benchmark.ABOUT.title)
    parser.add_argument("--quick", action="store_true", help="tiny settings, seconds; written only where --output says")
    parser.add_argument("--output", type=Path, help=f"default: benchmarks/results/{name}.json; the figure beside it")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--threads", type=at_least(1), default=1, help="of torch; 1 is what the figures are made with")
    parser.add_argument("--fresh", action="store_true", help="start over: forget what an interrupted run has finished")
    parser.add_argument("--redraw", action="store_true", help="verdict and figure again from the result; runs nothing")
    if hasattr(benchmark, "add_options"):
        benchmark.add_options(parser)
    return parser


def measured_of(path: Path) -> Any:
    """The measurements in a result file; the whole content of one from before results had a common form."""
    if not path.exists():
        return None
    content = read(path)
    return content.get("measured", content)


def read(path: Path) -> Any:
    """A JSON file; InputError where it is none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({said}): delete it, or start over with --fresh") from None


def measure(name: str, options: argparse.Namespace, command: str, kept: Kept) -> dict[str, Any]:
    """Run a benchmark: its result as it goes to disk."""
    benchmark, started = load(name), time.monotonic()
    torch.set_num_threads(options.threads)
    measured = plain(benchmark.run(options.quick, options, kept))
    if benchmark.ABOUT.whole is not None and not options.quick:
        command = f"python -m benchmarks {name} {benchmark.ABOUT.whole}".rstrip()
    return {
        "name": name,
        "command": command,
        "quick": options.quick,
        "seed": options.seed,
        "seconds": time.monotonic() - started + kept.seconds,
        "machine": machine(),
        "versions": versions(benchmark.ABOUT.peers),
        **judged(benchmark, measured),
    }


def judged(benchmark: Benchmark, measured: dict[str, Any]) -> dict[str, Any]:
    """The part of a result that follows from its measurements."""
    verdict = benchmark.judge(measured)
    return {
        "target": benchmark.ABOUT.target,
        "verdict": verdict.word,
        "why": verdict.why,
        "measured": measured,
    }


def write(result: dict[str, Any], path: Path) -> None:
    """The result as JSON, and the figure beside it unless the run was quick."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    draw = drawing(load(result["name"]))
    if draw is not None and not result["quick"]:
        draw(result["measured"]).savefig(path.with_suffix(".png"), dpi=110)


def redrawn(name: str, path: Path) -> dict[str, Any]:
    """A stored result, judged again. One from before results had a common form comes without time and machine."""
    result = read(path)
    if "measured" not in result:
        measured = {key: value for key, value in result.items() if key not in ("command", "table")}
        unknown = {"seconds": None, "machine": None, "versions": None}
        result = {"name": name, "command": f"python -m benchmarks {name}", "quick": False, "seed": 0, **unknown}
        result["measured"] = measured
    return result | judged(load(name), result["measured"])


def command_line(name: str, arguments: Sequence[str]) -> str:
    """What makes a result again: the arguments, without where it goes and what was there before."""
    words, left_out = [], False
    for word in arguments:
        if not left_out and not word.startswith(("--output=", "--fresh")) and word != "--output":
            words.append(word)
        left_out = word == "--output"
    return " ".join(["python -m benchmarks", name, *words])


def execute(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """`python -m benchmarks NAME ...`: measured or judged again, written where it belongs."""
    options = parser_of(name).parse_args(arguments)
    path = options.output or (None if options.quick else RESULTS / f"{name}.json")
    if options.redraw:
        path = path or RESULTS / f"{name}.json"
        result = redrawn(name, path)
        write(result, path)
        return result
    if path and path.is_dir():
        raise InputError(f"--output {path} is a folder: name a file, such as {path / name}.json")
    partial = path and path.with_suffix(".partial.json")
    if partial and options.fresh:
        partial.unlink(missing_ok=True)
    kept = Kept(partial, None if options.fresh or path is None else measured_of(path))
    result = measure(name, options, command_line(name, arguments), kept)
    if path:
        write(result, path)
    kept.forget()
    return result


def report(result: dict[str, Any]) -> str:
    """What the terminal shows."""
    tables = load(result["name"]).tables(result["measured"])
    return "\n\n".join([*map(str, tables), f"target: {result['target']}\n{result['verdict']}: {result['why']}"])
