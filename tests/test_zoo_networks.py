"""The networks of the zoo: their data, their losses, and linear regression in closed form."""

import math

import pytest
import torch
from torch.nn.utils import vector_to_parameters

from samplers.errors import InputError
from slt import zoo

NETWORKS = [m for m in zoo.models() if m.regression is not None]


def ids(models):
    return [model.name for model in models]


def near_center(model, count, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, model.dimension, generator=generator, dtype=torch.float64)
    return model.center + scale * noise


@pytest.mark.parametrize("model", NETWORKS, ids=ids(NETWORKS))
def test_network_has_the_potential_as_its_population_loss(model):
    regression = model.regression
    assert regression.rlct == model.rlct
    torch.testing.assert_close(regression.center, model.center)
    inputs = regression.draw_inputs(20_000, torch.Generator().manual_seed(5))
    network = regression.module(torch.float64)
    with torch.no_grad():
        truth = network(inputs)
        for w in near_center(model, 3, 0.3):
            vector_to_parameters(w, network.parameters())
            losses = regression.loss()(network(inputs), truth)
            assert losses.shape == (20_000,)
            error = losses.std() / math.sqrt(len(losses))
            assert abs(losses.mean() - model.potential(w)) < 4 * error + 1e-12


@pytest.mark.parametrize("model", NETWORKS, ids=ids(NETWORKS))
def test_network_data_are_reproducible_and_noisy_around_the_truth(model):
    before = torch.get_rng_state()
    x, y = model.regression.data(4000, seed=7, noise=0.5)
    x2, y2 = model.regression.data(4000, seed=7, noise=0.5)
    network = model.regression.module()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, x2)
    assert torch.equal(y, y2)
    assert not torch.equal(y, model.regression.data(4000, seed=8, noise=0.5)[1])
    assert x.dtype == y.dtype == torch.float32
    assert not network.training
    with torch.no_grad():
        losses = model.regression.loss(0.5)(network(x), y)
    outputs = y.shape[1]
    assert abs(losses.mean() - outputs / 2) < 4 * math.sqrt(outputs / 2 / 4000)


def test_network_data_refuse_in_one_line():
    regression = zoo.get("tanh-1").regression
    with pytest.raises(InputError, match="n must be at least 1"):
        regression.data(0, seed=0)
    with pytest.raises(InputError, match="noise is a standard deviation"):
        regression.data(5, seed=0, noise=0.0)
    with pytest.raises(InputError, match="noise is a standard deviation"):
        regression.loss(-1.0)


def test_linear_reference_against_a_grid():
    """Two weights: the posterior on a dense grid, for data whose own minimum is not at the centre."""
    regression = zoo.get("linear-regression-5").regression
    x, y = regression.data(60, seed=1, noise=0.7, dtype=torch.float64)
    x, center = x[:, :2], torch.tensor([0.3, -0.2], dtype=torch.float64)
    n_beta, gamma = 60 / math.log(60), 3.0
    axis = torch.linspace(-3, 3, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    loss = 0.5 * (y - x @ grid.T).square().mean(0) / 0.7**2
    start = 0.5 * (y[:, 0] - x @ center).square().mean() / 0.7**2
    prior = -0.5 * gamma * (grid - center).square().sum(1)
    log_weight = prior - n_beta * (loss - start)
    weight = torch.softmax(log_weight, 0)
    excess = n_beta * (loss - start)
    mean = (weight * excess).sum()
    reference = zoo.linear_reference(x, y, center, n_beta, gamma, noise=0.7)
    assert reference.llc == pytest.approx(mean.item(), rel=1e-6)
    assert reference.heat_capacity == pytest.approx((weight * (excess - mean) ** 2).sum().item(), rel=1e-6)
    free_energy = torch.logsumexp(prior, 0) - torch.logsumexp(log_weight, 0)
    assert reference.free_energy == pytest.approx(free_energy.item(), rel=1e-6)


def test_linear_reference_is_half_the_dimension_for_much_data():
    model = zoo.get("linear-regression-5")
    x, y = model.regression.data(20_000, seed=2)
    reference = zoo.linear_reference(x, y, model.center, n_beta=20_000 / math.log(20_000), gamma=1.0)
    # the minimum of the sample is off the truth by χ²/2 n of loss, which β = 1/log n makes small
    assert reference.llc == pytest.approx(2.5, rel=0.15)


def test_linear_reference_refuses_in_one_line():
    x, y, w = torch.ones(4, 2), torch.ones(4), torch.ones(2)
    with pytest.raises(InputError, match=r"takes inputs \(n, d\)"):
        zoo.linear_reference(x, y[:3], w, 1.0, 1.0)
    with pytest.raises(InputError, match=r"takes inputs \(n, d\)"):
        zoo.linear_reference(y, y, w, 1.0, 1.0)
    with pytest.raises(InputError, match="must be positive"):
        zoo.linear_reference(x, y, w, 1.0, 0.0)
