"""The problems of `benchmarks.time_to_accuracy`: built on both sides from the same words and arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import slt
from benchmarks.llc_networks import trained
from benchmarks.peers.models import LOSSES, MODELS
from benchmarks.peers.spec import Spec

SAMPLES, GAMMA = 1_000, 1.0
SHAPES = ((5, 3, 5), (5, 4, 5), (4, 3, 8), (8, 3, 4), (3, 8, 4))
RRR_STEPS, ONE_STEPS = (6e-4, 1.5e-3, 2e-4), (1e-4, 3e-4)  # the authors' own first
DIGITS, DIGITS_GAMMA = "digits-mlp-10000", 100.0
DIGITS_SETTINGS = ((1e-5, 256, 500, 1000), (1e-4, None, 200, 400), (3e-4, None, 200, 400))  # ε, batch, burn-in, draws


@dataclass(frozen=True)
class BothSides:
    """A model that both sides build from the same words, its weights w*, its data and its loss."""

    name: str
    model: str
    arguments: dict[str, Any]
    weights: dict[str, Tensor]
    data: tuple[Tensor, Tensor]
    loss: str = field(default="gaussian", kw_only=True)
    noise_variance: float = field(default=1.0, kw_only=True)

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.weights.values())).dtype

    def module(self) -> nn.Module:
        built = MODELS[self.model](**self.arguments).to(self.dtype)
        built.load_state_dict(self.weights)
        return built

    def losses(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Of (output, target), one per sample."""
        loss = LOSSES[self.loss]
        return lambda output, target: loss(output, target, self.noise_variance)

    def asked(self, n_beta: float, gamma: float, **settings: Any) -> Spec:
        """What a peer is asked: step_size, chains, draws, burn_in, ..."""
        return Spec(
            model=self.model, arguments=self.arguments, n_beta=n_beta, gamma=gamma, loss=self.loss,
            noise_variance=self.noise_variance, init_loss="exact", dtype=str(self.dtype).removeprefix("torch."),
            **settings,
        )  # fmt: skip


@dataclass(frozen=True)
class Problem(BothSides):
    """With the accuracies asked for."""

    gamma: float
    specs: tuple[dict[str, Any], ...]  # of the peer, the first with its authors' settings
    within: float = 0.05
    peer_within: float = 0.05
    faster: float = 20.0

    def estimate(self, seed: int, **settings: Any) -> slt.Estimate:
        return slt.estimate_llc(
            self.module(), self.data, self.losses(), gamma=self.gamma, seed=seed, progress=False, **settings
        )  # fmt: skip

    def spec(self, changes: dict[str, Any], seed: int) -> Spec:
        n = len(self.data[0])
        return self.asked(n / math.log(n), self.gamma, seed=seed, **changes)


def reduced_rank(inputs: int, hidden: int, outputs: int) -> Problem:
    """Targets of pure noise and the mean squared error over outputs, which is a Gaussian loss with σ² = outputs/2."""
    generator = torch.Generator().manual_seed(42)
    x, y = (torch.randn(SAMPLES, k, generator=generator) for k in (inputs, outputs))
    arguments = {"widths": [inputs, hidden, outputs], "activation": "identity", "bias": False}
    specs = tuple({"step_size": step, "chains": 10, "draws": 2_000, "burn_in": 0} for step in RRR_STEPS)
    name = f"reduced-rank regression {inputs}-{hidden}-{outputs}"
    weights = _minimum(arguments, x, y)
    return Problem(name, "mlp", arguments, weights, (x, y), GAMMA, specs, noise_variance=outputs / 2)


def one_parameter() -> Problem:
    generator = torch.Generator().manual_seed(42)
    x, noise = 2 * torch.randn(SAMPLES, 1, generator=generator), torch.randn(SAMPLES, 1, generator=generator)
    arguments = {"widths": [1, 1], "activation": "identity", "bias": False}
    weights = {"0.weight": ((x * 0.25 * noise).sum() / x.square().sum()).reshape(1, 1)}
    specs = tuple({"step_size": step, "chains": 10, "draws": 5_000, "burn_in": 0} for step in ONE_STEPS)
    return Problem(
        "one parameter", "mlp", arguments, weights, (x, 0.25 * noise), GAMMA, specs, noise_variance=0.5
    )  # fmt: skip


def digits() -> Problem:
    module, network = trained(DIGITS)
    arguments = {"widths": [64, 32, 10], "activation": "tanh"}
    specs = tuple(
        {"step_size": step, "batch_size": batch, "chains": 4, "draws": draws, "burn_in": burn_in}
        for step, batch, burn_in, draws in DIGITS_SETTINGS
    )
    return Problem(
        "digits MLP", "mlp", arguments, module.state_dict(), network.data(), DIGITS_GAMMA, specs, loss="cross-entropy",
        within=0.03, peer_within=0.10, faster=5.0,
    )  # fmt: skip


def _minimum(arguments: dict[str, Any], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Trained weights, by L-BFGS in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(42)
        module = MODELS["mlp"](**arguments).double()
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=5_000, tolerance_grad=1e-10, tolerance_change=0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (module(x.double()) - y.double()).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return {name: value.float() for name, value in module.state_dict().items()}
