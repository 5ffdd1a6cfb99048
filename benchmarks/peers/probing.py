"""A tiny problem that notes how a library uses it, and one run of a library on it. Plain torch, for every environment.

The model is linear, so that its posterior is a Gaussian and λ̂ is known. The first input of a sample is its number.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmarks.peers.spec import Found, Problem, Spec

SAMPLES, GAMMA = 32, 1.0
N_BETA = SAMPLES / math.log(SAMPLES)
CURVATURE = (1.0, 0.3)  # of L along the two weights; `side` is flat
SPEC = Spec("watched", {}, N_BETA, GAMMA, step_size=0.01, chains=2, draws=8, burn_in=4, batch_size=8)


class PeerModule(Protocol):
    """A module beside this one that asks a library."""

    PACKAGE: str

    def estimate(self, problem: Problem) -> Found: ...


@dataclass(frozen=True)
class Call:
    """One forward pass: the model's mode, the dtype of its weights, and which samples it saw."""

    training: bool
    dtype: str
    samples: tuple[int, ...]


CALLS: list[Call] = []  # of the run in progress; here and not in the model because libraries copy models


class Watched(nn.Module):
    """x → w·(x₁, x₂), and a weight `side` that the output does not depend on until it is above `cliff`: then NaN.

    `noisy`: randomness that no mode switches off. `norm`: batch normalization before w.
    """

    def __init__(self, noisy: bool = False, cliff: float | None = None, norm: bool = False) -> None:
        super().__init__()
        self.weight, self.side = nn.Parameter(torch.zeros(2, 1)), nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(2, affine=False) if norm else nn.Identity()
        self.noisy, self.cliff = noisy, cliff

    def forward(self, x: Tensor) -> Tensor:
        numbers = tuple(int(number) for number in x[:, 0].tolist())
        CALLS.append(Call(self.training, str(self.weight.dtype).removeprefix("torch."), numbers))
        output = self.norm(x[:, 1:]) @ self.weight + 0 * self.side
        if self.cliff is not None:
            output = output + torch.where(self.side > self.cliff, math.nan, 0.0)
        return output + 0.1 * torch.randn(len(x), 1) if self.noisy else output


def data() -> tuple[Tensor, Tensor]:
    """Inputs (32, 3) and targets (32, 1) for which w = 0 is the minimum, and the curvature there `CURVATURE`."""
    drawn = torch.randn(SAMPLES, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    orthonormal, _ = torch.linalg.qr(drawn)
    inputs = orthonormal[:, :2] * (SAMPLES * torch.tensor(CURVATURE)).sqrt()
    numbers = torch.arange(SAMPLES, dtype=torch.float64)[:, None]
    return torch.cat([numbers, inputs], 1).float(), orthonormal[:, 2:].float() * SAMPLES**0.5


def exact(step_size: float = 0.0) -> float:
    """λ̂ of the problem on all its data, by an exact sampler or by Langevin steps of that size (tests/test_peers.py)."""
    stiff = [(N_BETA * h, N_BETA * h + GAMMA) for h in CURVATURE]
    return 0.5 * sum(top / (a * (1 - step_size * a / 4)) for top, a in stiff)


class LibraryFailedError(RuntimeError):
    """A library raised where a probe needs its answer; the message is its own."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: an answer or an error; what was warned of or logged; every forward pass."""

    found: Found | None
    error: str
    said: list[str]
    calls: list[Call]

    @property
    def answer(self) -> Found:
        if self.found is None:
            raise LibraryFailedError(self.error)
        return self.found

    @property
    def llc(self) -> float:
        """λ̂ as reported, mean over chains."""
        return float(sum(self.answer.chains) / len(self.answer.chains))


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """What is warned of and logged meanwhile."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener, silenced = Listener(logging.WARNING), logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logging.root.addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
        said += [str(warning.message) for warning in caught]
    finally:
        logging.root.removeHandler(listener)
        logging.disable(silenced)


def ask(peer: PeerModule, model: Watched, **changes: Any) -> Outcome:
    """One run at `SPEC` with changes. Whatever the library raises is part of the outcome."""
    spec, (inputs, targets) = replace(SPEC, **changes), data()
    dtype = getattr(torch, spec.dtype)
    CALLS.clear()
    found, error = None, ""
    with heard() as said:
        try:
            found = peer.estimate(Problem(spec, model.to(dtype), inputs.to(dtype), targets.to(dtype)))
        except Exception as raised:  # theirs, of any kind
            error = f"{type(raised).__name__}: {raised}"
    return Outcome(found, error, said, list(CALLS))


def new(outcome: Outcome, control: Outcome, about: str) -> str:
    """What an outcome says about something (a pattern) that the control does not say, numbers aside; or ''."""
    known = {re.sub(r"[\d.e+-]+", "", message) for message in control.said}
    fresh = [message for message in outcome.said if re.sub(r"[\d.e+-]+", "", message) not in known]
    return next((message for message in fresh if re.search(about, message, re.IGNORECASE)), "")


def silence(outcome: Outcome, about: str) -> str:
    """How a library says nothing new about something."""
    known = any(re.search(about, message, re.IGNORECASE) for message in outcome.said)
    return "only what it says of a sound run too" if known else "without a word"
