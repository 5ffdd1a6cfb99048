"""What a result was measured on: processor, cores, system, versions; nothing that names a person or a place."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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


def versions(packages: tuple[str, ...] = ()) -> dict[str, str | None]:
    """Of the toolkit, torch, numpy and `packages`; None where one is not installed."""
    found: dict[str, str | None] = {}
    for name in (*OWN, *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
