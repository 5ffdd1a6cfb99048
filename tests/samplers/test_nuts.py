"""NUTS through Pyro: a reference that must itself be right, and must leave no trace."""

import sys

import numpy as np
import pytest
import torch
from simulation import z_scores
from targets import correlated, crossing, gaussian, logistic, quartic

from samplers.errors import InputError
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.pyro_nuts import nuts, nuts_draws


def compare(target, chains: int, draws: int, warmup: int) -> torch.Tensor:
    """z of mean loss, its variance and the second moments, from the means of independent chains."""
    start = target.posterior.draw_localizer(chains, ChainNoise(0, chains))
    positions, moved, _ = nuts_draws(target.posterior, start, draws, warmup=warmup, seed=1)
    assert min(moved) > 0.5
    loss = torch.stack([target.posterior.loss.value(positions[:, k]) for k in range(draws)], dim=1)
    x = positions - target.posterior.center_of(chains)[:, None]
    return torch.cat(
        [
            z_scores(loss.mean(1), target.mean_loss)[None],
            z_scores((loss - target.mean_loss).square().mean(1), target.variance_loss)[None],
            z_scores((x[..., :, None] * x[..., None, :]).mean(1).flatten(1), target.moments.flatten()),
        ]
    )


def test_moments_of_a_correlated_gaussian():
    assert float(compare(correlated(), chains=8, draws=60, warmup=60).abs().max()) < 4


@pytest.mark.slow
@pytest.mark.parametrize("make_target", [correlated, quartic, crossing, logistic])
def test_moments(make_target):
    assert float(compare(make_target(), chains=12, draws=600, warmup=400).abs().max()) < 4


def test_trace_is_reproducible_by_chain_and_the_global_state_untouched():
    target = gaussian("two", torch.eye(2).double(), 2.0, 1.0)
    beta = torch.tensor([1.0, 0.5]).double()
    posterior = LocalPosterior(
        target.posterior.loss, torch.stack([torch.zeros(2), torch.ones(2)]).double(), n=2.0, beta=beta, gamma=1.0,
        owner=[0, 1],
    )  # fmt: skip
    start = posterior.draw_localizer(2, ChainNoise(0, 2))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trace = nuts(posterior, start, 10, warmup=10, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert trace.loss.shape == (2, 10)
    assert trace.attributes["divergences"] == 0
    assert np.array_equal(trace.center_loss, np.repeat([[0.0], [1.0]], 10, axis=1))
    again = nuts(posterior, start, 10, warmup=10, seed=3)
    assert np.array_equal(again.loss, trace.loss)
    alone = LocalPosterior(posterior.loss, posterior.centers[0], n=2.0, beta=1.0, gamma=1.0)
    assert np.array_equal(nuts(alone, start[:1], 10, warmup=10, seed=3).loss, trace.loss[:1])
    assert not np.array_equal(nuts(posterior, start, 10, warmup=10, seed=4).loss, trace.loss)


def test_without_pyro_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyro.infer", None)
    target = correlated()
    with pytest.raises(InputError, match=r"pip install 'slt-toolkit\[nuts\]'"):
        nuts(target.posterior, target.posterior.centers, 10)
