"""Small models, data and runs that several test files share."""

import math

import pytest
import torch
from torch import Tensor, nn

from slt.linearized import Linearized, gauss_newton_eigenvalues

torch.set_num_threads(1)  # the tests' models are too small to share out, least of all on a busy machine


class Point(nn.Module):
    """A model whose output is its weights, scaled column by column: squared error of it is a quadratic in them."""

    def __init__(self, dimension: int):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dimension, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.w


@pytest.fixture(scope="session")
def quadratic():
    """(model, data, curvature h): loss ½ Σ h_i w_i² exactly, on every sample, minimum at 0."""
    curvature = torch.tensor([1.0, 0.3, 0.1, 0.0], dtype=torch.float64)
    x = curvature.sqrt().expand(200, -1).contiguous()
    return Point(4), (x, torch.zeros_like(x)), curvature


@pytest.fixture(scope="session")
def linearized_tanh():
    """(model, data, eigenvalues): a linearized tanh network on its own outputs, and the curvature of its loss."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        x = torch.randn(400, 3, dtype=torch.float64)
    model = Linearized(network)
    with torch.no_grad():
        y = model(x)
    return model, (x, y), gauss_newton_eigenvalues(network, x)


@pytest.fixture(scope="session")
def digits():
    """The real handwritten digits, X (1797, 64) in [0, 1], Y (1797,)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.tensor(bunch.data / 16, dtype=torch.float32), torch.tensor(bunch.target)


def train_digits_mlp(digits: tuple[Tensor, Tensor], steps: int = 600, hidden: int = 32) -> nn.Module:
    """A digits MLP trained for a second or two, close to a minimum."""
    x, y = digits
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    order = torch.Generator().manual_seed(0)
    for step in range(steps):
        batch = torch.randperm(len(x), generator=order)[:256]
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.fixture(scope="session")
def digits_mlp(digits):
    """A trained 64-32-10 tanh network on the digits."""
    return train_digits_mlp(digits)
