"""`python -m benchmarks --list`, `NAME [options]`, `all`, `page`."""

from __future__ import annotations

import shlex
import subprocess
import sys

from benchmarks import NAMES, page
from benchmarks.harness import RESULTS, Kept, execute, load, read, report
from samplers.errors import InputError

USAGE = """python -m benchmarks --list               what there is, how long each takes
python -m benchmarks NAME [--quick]       one benchmark; NAME --help has its options
python -m benchmarks all                  the page's commands one by one, hours; run again, it goes on where it was
python -m benchmarks page                 benchmarks/README.md from benchmarks/results/"""


def listing() -> str:
    lines = []
    for name in NAMES:
        about = load(name).ABOUT
        lines.append(f"{name:24s} {about.duration:>14s}  {about.title}\n{'':41s}{about.source}")
    return "\n".join(lines)


def recorded(name: str) -> list[str]:
    """The commands under a benchmark's figure on the page, each without `python -m benchmarks`."""
    path = RESULTS / f"{name}.json"
    lines = read(path)["command"].splitlines() if path.exists() else [f"python -m benchmarks {name}"]
    return [line.removeprefix("python -m benchmarks ") for line in lines]


def run_all() -> int:
    """The page made again, every benchmark in a process of its own; one that fails does not stop the others."""
    finished, failed = Kept(RESULTS / "all.partial.json"), []
    for number, name in enumerate(NAMES, 1):
        print(f"[{number}/{len(NAMES)}] {name}, {load(name).ABOUT.duration}", flush=True)
        try:
            for command in recorded(name):
                finished(command, subprocess.check_call, [sys.executable, "-m", "benchmarks", *shlex.split(command)])
        except subprocess.CalledProcessError as error:
            print(f"{name} FAILED with exit code {error.returncode}; the others go on", flush=True)
            failed.append(name)
    page.write()
    if failed:
        print(f"failed: {', '.join(failed)}; `python -m benchmarks all` runs those again")
        return 1
    finished.forget()
    return 0


def main() -> int:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(USAGE)
    elif name == "--list":
        print(listing())
    elif name == "all":
        return run_all()
    elif name == "page":
        page.write()
    elif name in NAMES:
        try:
            print(report(execute(name, arguments)))
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"{name}: stopped; the same command goes on with what was finished", file=sys.stderr)
            return 130
    else:
        print(f"no benchmark is called {name!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
