"""What holds of every kernel: grouping of chains, degenerate posteriors, non-finite chains, the state."""

import pytest
import torch
from kernels import all_kernels
from torch import nn

from samplers.batches import Batches
from samplers.engine import ModuleLoss, Potential
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.run import Run

NAMES = list(all_kernels(6, 0.1))


class Samples:
    """Inputs and targets in memory."""

    def __init__(self, x, y):
        self.x, self.y, self.n = x, y, len(x)

    def batch(self, index):
        return Picked(self.x[index], self.y[index])


class Picked:
    kwargs: dict = {}  # noqa: RUF012

    def __init__(self, x, y):
        self.args, self.target = (x,), y


torch.utils._pytree.register_pytree_node(
    Picked, lambda p: ([p.args[0], p.target], None), lambda parts, _: Picked(*parts)
)


@pytest.fixture(scope="module")
def network() -> ModuleLoss:
    """A small tanh network in float64, at random weights."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(60, 1, generator=generator, dtype=torch.float64)
    return ModuleLoss(model, lambda out, target: 0.5 * (out - target).square().sum(-1), Samples(x, y))


@pytest.mark.parametrize("name", NAMES)
def test_chains_do_not_depend_on_how_they_are_grouped(network, name):
    """16 chains as 1 × 16, 4 × 4 and one by one: the same to 1e-9 after 100 steps, γ and β being the chains' own.

    Reflections are a billiard, which multiplies rounding errors at every bounce: there, after 10 steps.
    """
    d, steps = network.dimension, 10 if name.endswith("-ball") else 100
    kernel = all_kernels(d, 0.02)[name]
    beta, gamma = torch.linspace(0.05, 0.3, 16).double(), torch.linspace(3.0, 1.0, 16).double()

    def positions(group: int) -> torch.Tensor:
        rows = []
        for first in range(0, 16, group):
            chains = range(first, first + group)
            noise = ChainNoise(7, chains)
            posterior = LocalPosterior(
                network, network.center, n=60, beta=beta[list(chains)], gamma=gamma[list(chains)]
            )
            batches = Batches(60, None if kernel.full_data else 10, 7)
            run = Run(posterior, kernel, posterior.draw_localizer(group, noise), noise=noise, batches=batches)
            for _ in range(steps):
                run.step()
            rows.append(run.position)
        return torch.cat(rows)

    together = positions(16)
    assert bool(together.isfinite().all())
    assert float((together - network.center).abs().max()) > 0.1
    assert float((positions(4) - together).abs().max()) < 1e-9
    assert float((positions(1) - together).abs().max()) < 1e-9


def constant(dimension: int, beta: float = 1.0) -> LocalPosterior:
    """A loss that says nothing: the posterior is the localizing Gaussian."""
    loss = Potential(lambda w: 2.0 + 0 * w.sum(-1), dimension)
    return LocalPosterior(loss, torch.ones(dimension).double(), n=100, beta=beta, gamma=4.0)


# Leaves the localizing Gaussian invariant exactly, whatever ε: Metropolis-corrected, or the symmetric splitting.
EXACT = ("sghmc", "mala", "hmc")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sghmc-hyperplane"])
def test_one_chain_on_a_constant_loss(name):
    """The loss differences are exactly zero, and the chain is finite and moves."""
    posterior, noise = constant(6), ChainNoise(0, 1)
    kernel = all_kernels(6, 0.1)[name]
    run = Run(posterior, kernel, posterior.draw_localizer(1, noise), noise=noise, batches=Batches(100, None, 0))
    before = run.position
    for _ in range(60):
        info = run.step()
        assert torch.equal(info.loss, info.center_loss)
    assert bool(run.position.isfinite().all())
    assert not torch.equal(run.position, before)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("name", EXACT)
def test_localizer_is_left_invariant(name, beta):
    """At β = 0 with any loss, or with a constant loss at any β, draws of N(w*, 1/γ) stay draws of it."""
    d = 40
    loss = Potential(lambda w: (w - 1).pow(4).sum(-1) if beta == 0 else 0 * w.sum(-1), d)
    posterior = LocalPosterior(loss, torch.ones(d).double(), n=100, beta=beta, gamma=4.0)
    kernel, noise = all_kernels(d, 0.1)[name], ChainNoise(0, 64)
    run = Run(posterior, kernel, posterior.draw_localizer(64, noise), noise=noise, batches=Batches(100, None, 0))
    squares = []
    for _ in range(120):
        run.step()
        squares.append(4 * posterior.displacement(run.position).square())
    means = torch.stack(squares).mean((0, 2))
    assert abs(float((means.mean() - 1) / (means.std() / 8))) < 4


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sghmc-hyperplane"])
def test_without_step_nothing_moves(name):
    """ε → 0: the chain stays where it is."""
    posterior, noise = constant(6), ChainNoise(0, 4)
    kernel = all_kernels(6, 1e-30)[name]
    run = Run(posterior, kernel, posterior.draw_localizer(4, noise), noise=noise, batches=Batches(100, None, 0))
    before = run.position
    for _ in range(3):
        run.step()
    torch.testing.assert_close(run.position, before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_chain_that_is_lost_does_not_touch_the_others(network, name):
    d = network.dimension
    kernel = all_kernels(d, 0.02)[name]
    ends = []
    for spoiled in (False, True):
        posterior, noise = LocalPosterior(network, network.center, n=60, beta=0.2, gamma=2.0), ChainNoise(3, 3)
        batches = Batches(60, None if kernel.full_data else 10, 3)
        run = Run(posterior, kernel, posterior.draw_localizer(3, noise), noise=noise, batches=batches)
        if spoiled:
            run.state = run.state._replace(position=run.position.clone().index_fill_(0, torch.tensor([1]), torch.nan))
        for _ in range(20):
            run.step()
        ends.append(run)
    assert ends[1].alive.tolist() == [True, False, True]
    for chain in (0, 2):
        torch.testing.assert_close(ends[0].position[chain], ends[1].position[chain], rtol=0, atol=1e-9)


def leaves(state) -> list:
    """All tensors of a nested state."""
    if state is None:
        return []
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in leaves(part)]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_a_pure_function_of_the_state(network, name):
    """The state is nested tuples of tensors, is not changed in place, and a step from it can be taken again."""
    kernel = all_kernels(network.dimension, 0.02)[name]
    posterior, noise = LocalPosterior(network, network.center, n=60, beta=0.2, gamma=2.0), ChainNoise(3, 3)
    index = None if kernel.full_data else torch.arange(10)
    state = kernel.init(posterior, posterior.draw_localizer(3, noise))
    state, _ = kernel.step(posterior, state, index, noise)
    copies, streams = [leaf.clone() for leaf in leaves(state)], noise.state()
    first, _ = kernel.step(posterior, state, index, noise)
    assert all(torch.equal(a, b) for a, b in zip(copies, leaves(state), strict=True))
    noise.restore(streams)
    again, _ = kernel.step(posterior, state, index, noise)
    assert all(torch.equal(a, b) for a, b in zip(leaves(first), leaves(again), strict=True))
