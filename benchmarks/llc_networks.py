"""The networks of `benchmarks.llc_accuracy` that have no closed form: how they are built, on what data, how trained.

Their trained weights are in `benchmarks/data/llc_networks.safetensors`, so that the references belong to the very
weights that are estimated, on any machine. `python -m benchmarks.llc_networks` trains them anew.
"""

import codecs
import contextlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import slt
from benchmarks.peers.models import CONTEXT, MODELS
from slt import zoo

WEIGHTS = Path(__file__).parent / "data" / "llc_networks.safetensors"
DIGITS_STEPS = (100, 300, 1000, 3000, 10_000)
SAMPLES = 2_000  # of the toy model of superposition and of logistic regression

Data = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor] | None


@dataclass(frozen=True)
class Network:
    """A network's name and arguments in `MODELS`, its data and per-sample loss (None: cross-entropy), its training."""

    model: str
    arguments: Callable[[], dict[str, Any]]
    data: Callable[[], Data]
    loss: Loss
    train: Callable[["Network"], dict[str, nn.Module]]

    dtype: torch.dtype = torch.float32

    def build(self) -> nn.Module:
        return MODELS[self.model](**self.arguments()).to(self.dtype)

    def mean_loss(self, module: nn.Module) -> Tensor:
        x, y = self.data()
        return (self.loss or slt.cross_entropy)(module(x), y).mean()


@cache
def digits() -> Data:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def digits_images() -> Data:
    """900 of them: a convolution of a chain's own is dear."""
    x, y = digits()
    return x[:900].view(-1, 1, 8, 8), y[:900]


@cache
def characters() -> tuple[Data, int]:
    """The Zen of Python, a text that every Python has, in pieces of 8; and how many characters it knows."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    text = codecs.decode(this.s, "rot13").lower().replace("\n", " ")
    known = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = torch.tensor([known[c] for c in text]).unfold(0, CONTEXT, CONTEXT)
    return (ids, ids), len(known)


@cache
def superposition_data() -> Data:
    """x = μ e_i, i uniform on the 6 features, μ uniform on [0, 1]; float64."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(6, (SAMPLES,), generator=generator)
    size = torch.rand(SAMPLES, 1, generator=generator, dtype=torch.float64)
    x = size * torch.eye(6, dtype=torch.float64)[which]
    return x, x


def squared_distance(output: Tensor, target: Tensor) -> Tensor:
    """|x - f(x)|², the loss of the toy model of superposition: no ½."""
    return (output - target).square().sum(-1)


@cache
def logistic_data() -> Data:
    """Ten inputs of unequal variance, labels drawn from a logistic model; float64."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.logspace(-1, 1, 10, dtype=torch.float64)
    x = scale * torch.randn(SAMPLES, 10, generator=generator, dtype=torch.float64)
    truth = torch.randn(10, generator=generator, dtype=torch.float64) / scale
    chance = torch.sigmoid(x @ truth)
    return x, (torch.rand(SAMPLES, generator=generator, dtype=torch.float64) < chance).long()


def _by_momentum(network: Network) -> dict[str, nn.Module]:
    """The digits MLP by SGD with momentum, the step annealed to 0; checkpoints on the way."""
    module, (x, y) = network.build(), network.data()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=DIGITS_STEPS[-1])
    kept: dict[str, nn.Module] = {}
    for step in range(1, DIGITS_STEPS[-1] + 1):
        index = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        slt.cross_entropy(module(x[index]), y[index]).mean().backward()
        optimizer.step()
        schedule.step()
        if step in DIGITS_STEPS:
            kept[f"digits-mlp-{step}"] = network.build()
            kept[f"digits-mlp-{step}"].load_state_dict(module.state_dict())
    return kept


def _by_adam(name: str, steps: int) -> Callable[[Network], dict[str, nn.Module]]:
    def train(network: Network) -> dict[str, nn.Module]:
        module = network.build()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        for _ in range(steps):
            optimizer.zero_grad()
            network.mean_loss(module).backward()
            optimizer.step()
            schedule.step()
        return {name: module}

    return train


def _to_the_bottom(network: Network, module: nn.Module) -> nn.Module:
    """The minimum nearest to a module's weights, by L-BFGS in float64."""
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = network.mean_loss(module)
        loss.backward()
        return loss

    optimizer.step(closure)
    return module


def _polygons(network: Network) -> dict[str, nn.Module]:
    kept = {}
    for name in ("superposition-5-gon", "superposition-6-gon"):
        module, center = network.build(), zoo.get(name).center
        module.load_state_dict({"weight": center[:12].view(2, 6), "bias": center[12:]})
        kept[name] = _to_the_bottom(network, module)
    return kept


def _logistic(network: Network) -> dict[str, nn.Module]:
    return {"logistic-regression": _to_the_bottom(network, network.build())}


NETWORKS = {
    "digits-mlp": Network("mlp", lambda: {"widths": [64, 32, 10], "activation": "tanh"}, digits, None, _by_momentum),
    "digits-cnn": Network("cnn", dict, digits_images, None, _by_adam("digits-cnn", 1500)),
    "character-transformer": Network(
        "character-transformer",
        lambda: {"vocabulary": characters()[1]},
        lambda: characters()[0],
        slt.causal_lm_loss,
        _by_adam("character-transformer", 2000),
    ),
    "superposition": Network("superposition", dict, superposition_data, squared_distance, _polygons, torch.float64),
    "logistic-regression": Network("logistic", dict, logistic_data, None, _logistic, torch.float64),
}


def trained(name: str) -> tuple[nn.Module, Network]:
    """A trained network by its name in the weights' file, and what it is."""
    network = NETWORKS[next(kind for kind in NETWORKS if name.startswith(kind))]
    module = network.build()
    start = f"{name}/"
    module.load_state_dict({k.removeprefix(start): v for k, v in load_file(WEIGHTS).items() if k.startswith(start)})
    return module, network


def main() -> None:
    torch.set_num_threads(1)
    weights: dict[str, Tensor] = {}
    for network in NETWORKS.values():
        torch.manual_seed(0)
        for name, module in network.train(network).items():
            loss = network.mean_loss(module)
            gradients = torch.autograd.grad(loss, list(module.parameters()))
            norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
            size = sum(p.numel() for p in module.parameters())
            print(f"{name:24} {size:5d} weights, loss {loss.item():.4g}, |gradient| {norm:.2g}", flush=True)
            weights |= {f"{name}/{key}": value.contiguous() for key, value in module.state_dict().items()}
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(weights, WEIGHTS)


if __name__ == "__main__":
    main()
