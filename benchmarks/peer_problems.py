"""The models of `benchmarks.peer_accuracy`: what both sides build, and the exact or reference λ̂ at γ of our default."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.accuracy_problems import BothSides
from benchmarks.llc_networks import trained
from slt import zoo
from slt.validation import whitened_inputs

# The zoo's regressions have quadrature; the networks a run 50 times as long, of `benchmarks.llc_accuracy`.
REGRESSIONS = (("linear-regression-20-ill", 10_000), ("tanh-2", 1_000))
NETWORKS = ("logistic-regression", "superposition-5-gon", "digits-cnn", "character-transformer")
LARGER = ("digits-cnn", "character-transformer")
_LOSSES = {"superposition": ("gaussian", 0.5), "character-transformer": ("next-token", 1.0)}  # |y - f|² is σ² = ½
STORED = Path(__file__).parent / "results" / "llc_accuracy.json"


@dataclass(frozen=True)
class PeerProblem(BothSides):
    """With λ̂ at (nβ, γ) and the error of that."""

    known: Callable[[float, float], tuple[float, float]]
    peer_seconds: float = field(default=20.0, kw_only=True)  # about, of each run of a peer


def regression(name: str, n: int) -> PeerProblem:
    """A regression of the zoo, without noise: through the network path, held against quadrature."""
    model = zoo.get(name)
    assert model.regression is not None
    module, inputs = model.regression.module(torch.float64), whitened_inputs(model, n)
    with torch.no_grad():
        data = (inputs, module(inputs))
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    arguments = {"widths": [layers[0].in_features, *(layer.out_features for layer in layers)], "bias": False,
                 "activation": "tanh" if len(layers) > 1 else "identity"}  # fmt: skip
    return PeerProblem(
        f"{name}, n = {n}", "mlp", arguments, module.state_dict(), data, lambda t, g: (model.mean_potential(t, g), 0.0)
    )


def network(name: str) -> PeerProblem:
    """A trained network of `benchmarks.llc_networks`."""
    module, built = trained(name)
    loss, noise_variance = _LOSSES.get(built.model, ("cross-entropy", 1.0))
    return PeerProblem(
        name, built.model, built.arguments(), module.state_dict(), built.data(), partial(_stored, name), loss=loss,
        noise_variance=noise_variance, peer_seconds=60.0 if name in LARGER else 20.0,
    )  # fmt: skip


def _stored(name: str, n_beta: float, gamma: float) -> tuple[float, float]:
    rows = {row["problem"]: row for row in json.loads(STORED.read_text())["measured"]["problems"]}
    row = rows.get(name)
    if row is None:
        raise SystemExit(f"no reference of {name} in {STORED}: run `python -m benchmarks llc_accuracy` first")
    like = row["runs"][0]
    if abs(like["gamma"] / gamma - 1) > 1e-6 or abs(like["n"] * like["beta"] / n_beta - 1) > 1e-6:
        raise SystemExit(f"the reference of {name} in {STORED} is at another scale: run llc_accuracy again")
    return row["reference"]["llc"], row["reference"]["std_error"]


def problems(names: str | None = None) -> list[Callable[[], PeerProblem]]:
    """Those named, separated by commas; all by default."""
    every: dict[str, Callable[[], PeerProblem]] = {name: partial(regression, name, n) for name, n in REGRESSIONS}
    every |= {name: partial(network, name) for name in NETWORKS}
    chosen = list(every) if names is None else names.split(",")
    if unknown := [name for name in chosen if name not in every]:
        raise SystemExit(f"no model is called {', '.join(unknown)}; there are: {', '.join(every)}")
    return [every[name] for name in chosen]


def small() -> PeerProblem:
    """One that takes no time."""
    return replace(regression("linear-regression-5", 200), name="linear regression")
