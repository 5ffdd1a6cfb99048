"""What a result was measured on: processor, cores, system, versions; nothing that names a person or a place."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.peers.client import PEERS, ROOT

OWN = ("slt-toolkit", "torch", "numpy")


def machine() -> dict[str, str | int]:
    return {
        "cpu": _processor(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's own name where Linux tells it; else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(peers: tuple[str, ...] = ()) -> dict[str, str | None]:
    """Of the toolkit, torch, numpy, and of the peers in their own environments; None where one is not installed."""
    found = {name: _version(name, sys.path) for name in OWN}
    for peer in peers:
        environment, _, package = PEERS[peer]
        found[peer] = _version(package, [str(path) for path in (ROOT / environment).glob("lib/python*/site-packages")])
    return found


def _version(package: str, path: list[str]) -> str | None:
    found = next(iter(distributions(name=package, path=path)), None)
    return found.version if found else None
