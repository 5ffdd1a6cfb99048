"""What the tests of both libraries share: all that a callback could disturb, and a model at its minimum."""

import random

import numpy as np
import torch
from torch import nn


def seed() -> None:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


def state_of(model, optimizer) -> dict[str, torch.Tensor]:
    """Weights and buffers, gradients, modes, moments, and the three global random states."""
    found = {f"weights {name}": value.clone() for name, value in model.state_dict().items()}
    found |= {f"gradient {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    found |= {f"mode {name}": torch.tensor(module.training) for name, module in model.named_modules()}
    for key, moments in optimizer.state_dict()["state"].items():
        found |= {f"moment {key} {name}": torch.as_tensor(value).clone() for name, value in moments.items()}
    found["torch"] = torch.get_rng_state()
    found["numpy"] = torch.tensor(np.random.get_state()[1].astype(np.int64))  # noqa: NPY002
    found["python"] = torch.tensor(random.getstate()[1])
    return found


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def logistic_regression(x, y) -> nn.Linear:
    """A linear layer at the minimum of its cross-entropy, where λ̂ has a number at once."""
    layer = nn.Linear(x.shape[1], 2)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(layer(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer
