"""Minibatches: random subsets, each independent of the others."""

import pytest
import torch
from simulation import z_scores

from samplers.batches import Batches
from samplers.errors import InputError
from samplers.gradient import ControlVariate, Plain
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.run import Run
from samplers.sgld import SGLD


@pytest.mark.parametrize(("n", "size"), [(40, 10), (20_000, 10)])
def test_random_subsets_in_random_order(n, size):
    batches = Batches(n, size, 0)
    drawn = torch.stack([batches.next() for _ in range(4000)])
    assert all(len(set(row)) == size for row in drawn.tolist())
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < n
    assert float(z_scores(drawn.double(), (n - 1) / 2).abs().max()) < 4  # every place in a batch, every half of it
    below = (drawn < n // 2).double().mean(1)
    assert abs(float(torch.corrcoef(torch.stack([below[:-1], below[1:]]))[0, 1])) < 4 / 4000**0.5


def test_full_data_and_bad_sizes():
    assert Batches(10, None, 0).next() is None
    assert Batches(10, 10, 0).next() is None
    with pytest.raises(InputError, match="between 1 and n = 10, got 11"):
        Batches(10, 11, 0)


def test_draws_depend_on_the_seed_and_go_on_from_a_saved_state():
    first, again, other = Batches(100, 7, 0), Batches(100, 7, 0), Batches(100, 7, 1)
    a = [first.next() for _ in range(5)]
    assert all(torch.equal(x, again.next()) for x in a)
    assert not all(torch.equal(x, other.next()) for x in a)
    saved = first.state()
    ahead = [first.next() for _ in range(5)]
    again.restore(saved)
    assert all(torch.equal(x, again.next()) for x in ahead)


class Shifted:
    """Sample i says ½ (w - y_i)²: the mean of the y is 0, so that L(w) - L(0) = ½ w²."""

    dimension = 1

    def __init__(self, n: int):
        y = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.y = y - y.mean()

    def value(self, w, index=None):
        return self.value_and_grad(w, index)[0]

    def value_and_grad(self, w, index=None):
        residual = w - (self.y if index is None else self.y[index])
        return 0.5 * residual.square().mean(-1), residual.mean(-1, keepdim=True)


@pytest.mark.parametrize("estimator", [Plain, ControlVariate])
def test_a_minibatch_is_an_unbiased_look_at_where_the_chain_is(estimator):
    """The paired difference on the step's minibatch against the same on all the data, at the same positions.

    The minibatches of a shuffled epoch would be off by 0.5, half of the whole, here without control variates: each
    holds none of the samples by which the chain has just been pushed.
    """
    n, posterior = 40, LocalPosterior(Shifted(40), torch.zeros(1).double(), n=40, beta=1.0, gamma=1.0)
    noise = ChainNoise(0, 4)
    kernel = SGLD(0.02, gradient=estimator())
    run = Run(posterior, kernel, posterior.draw_localizer(4, noise), noise=noise, batches=Batches(n, 8, 0))
    gaps = []
    for _ in range(12_000):
        w = run.position
        info = run.step()
        gaps.append((n * (info.loss - info.center_loss - 0.5 * w[:, 0].square())).mean())
    blocks = torch.stack(gaps).reshape(60, 200).mean(1)  # longer than anything the chain remembers
    assert abs(float(z_scores(blocks, 0.0))) < 4
    assert float(blocks.std() / 60**0.5) < 0.02
