"""`benchmarks/README.md`, made from the results: what is claimed, what was measured, how to make it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import NAMES
from benchmarks.harness import RESULTS, Table, drawing, judged, load

PAGE = Path(__file__).parent / "README.md"
WORDS = {"reproduced": "reproduced", "partly": "reproduced in part", "not": "not reproduced"}

INTRO = """# Benchmarks

Every claim of this toolkit about accuracy, speed or memory, and every paper whose figures it reproduces: one command,
its table and figure, the target it is held to, and a verdict that code computed from the numbers. This page comes from
[`results/`](results/) by `python -m benchmarks page`.

In a fresh clone, with Python 3.11 or later, make and a C compiler:

```
make test                                  # sets up .venv, runs the tests
source .venv/bin/activate
python -m benchmarks --list                # what there is, how long each takes
python -m benchmarks polynomial_networks   # one of them: table and verdict here, the rest in benchmarks/results/
make peers                                 # once, for comparisons: other libraries in environments of their own
make benchmarks                            # the commands below one after the other, hours, then this page
```

`--quick` goes through the same motions on tiny settings in seconds and writes nothing; the tests do that with each.
A run that is killed and started again goes on with what it had finished. `rlct_accuracy`, `time_to_accuracy` and
`peer_accuracy` also keep what the stored result holds; `--fresh` measures everything anew. Set `OMP_NUM_THREADS=1` for
the conditions of the figures. Times are those of the machine named under each benchmark: compare ratios, not seconds.
"""


def escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def markdown(table: Table) -> str:
    lines = [table.header, tuple("---" for _ in table.header), *table.rows]
    body = "\n".join("| " + " | ".join(map(escaped, row)) + " |" for row in lines)
    return f"{table.caption}\n\n{body}" if table.caption else body


def length(seconds: float | None) -> str:
    if seconds is None:
        return "time not recorded"
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def provenance(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    where = "machine not recorded"
    if machine:
        where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}"
    with_what = ", ".join(f"{name} {number}" for name, number in (versions or {}).items() if number)
    return f"{length(result['seconds'])}; {where}; {with_what or 'versions not recorded'}."


def section(name: str) -> str:
    benchmark = load(name)
    about, path = benchmark.ABOUT, RESULTS / f"{name}.json"
    parts = [f"## {about.title}", f"{about.claim} ({about.source})", f"**Target.** {about.target}"]
    parts.append(f"**Criterion.** {about.criterion}")
    if not path.exists():
        return "\n\n".join([*parts, "*No result yet.*", f"```\npython -m benchmarks {name}   # {about.duration}\n```"])
    result = json.loads(path.read_text())
    parts.append(f"**Verdict: {WORDS[result['verdict']]}.** {result['why']}")
    parts += [markdown(table) for table in benchmark.tables(result["measured"])]
    if "note" in result["measured"]:
        parts.append(f"*{result['measured']['note']}*")
    if drawing(benchmark):
        parts.append(f"![{about.title}](results/{name}.png)")
    parts += [f"```\n{result['command']}   # {about.duration}\n```", provenance(result)]
    return "\n\n".join(parts)


def contents() -> str:
    rows = []
    for name in NAMES:
        about, path = load(name).ABOUT, RESULTS / f"{name}.json"
        word = WORDS[json.loads(path.read_text())["verdict"]] if path.exists() else "no result yet"
        anchor = "".join(c for c in about.title.lower() if c.isalnum() or c in " -_").replace(" ", "-")
        rows.append((f"[{about.title}](#{anchor})", f"`{name}`", about.duration, word))
    return markdown(Table(("what", "name", "takes", "verdict"), rows))


def text() -> str:
    return "\n\n".join([INTRO.strip(), contents(), *map(section, NAMES)]) + "\n"


def write() -> None:
    PAGE.write_text(text(), encoding="utf-8")


def out_of_date(name: str) -> list[str]:
    """Parts of a stored result that no longer follow from its measurements (`--redraw` makes them again)."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    result = json.loads(path.read_text())
    return [key for key, value in judged(load(name), result["measured"]).items() if result[key] != value]
