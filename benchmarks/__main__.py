"""`python -m benchmarks --list`, `NAME [options]`, `all`, `page`."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import NAMES, page
from benchmarks.harness import RESULTS, Kept, execute, load, report
from samplers.errors import InputError

USAGE = """python -m benchmarks --list               what there is, how long each takes
python -m benchmarks NAME [--quick]       one benchmark; NAME --help has its options
python -m benchmarks all                  one after the other, hours; run again, it goes on where it was
python -m benchmarks page                 benchmarks/README.md from benchmarks/results/"""


def listing() -> str:
    lines = []
    for name in NAMES:
        about = load(name).ABOUT
        lines.append(f"{name:24s} {about.duration:>14s}  {about.title}\n{'':41s}{about.source}")
    return "\n".join(lines)


def run_all() -> int:
    """Every benchmark in a process of its own; one that fails is named and does not stop the others."""
    finished, failed = Kept(RESULTS / "all.partial.json"), []
    for number, name in enumerate(NAMES, 1):
        print(f"[{number}/{len(NAMES)}] {name}, {load(name).ABOUT.duration}", flush=True)
        command = [sys.executable, "-m", "benchmarks", name]
        try:
            finished(name, subprocess.check_call, command)
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
