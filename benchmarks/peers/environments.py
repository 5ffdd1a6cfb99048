"""Where the peers live: environments made by `make peers`, beside the toolkit's own."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
# Peer -> environment. devinterp 1.3.2 takes any model, 2.0.1 language models only; they exclude each other.
ENVIRONMENTS = {
    "devinterp-1": ".venv-devinterp-1",
    "devinterp-2": ".venv-peers",
    "canonical": ".venv-peers",
    "pyro": ".venv-peers",
}


def python_of(peer: str) -> Path:
    return ROOT / ENVIRONMENTS[peer] / "bin" / "python"


def missing(peer: str) -> str | None:
    """Why a peer cannot be run, or None where it can."""
    path = python_of(peer)
    return None if path.exists() else f"{peer} is not installed ({ENVIRONMENTS[peer]} is not there): `make peers`"
