"""Stiff directions are believed where chains share them, and the metric made of them leaves no stiff direction."""

import math

import pytest
import torch

from samplers.batches import Batches
from samplers.curvature import gradient_of_potential, largest_curvature
from samplers.engine import Potential
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Identity
from samplers.stiffness import shared_stiffness
from samplers.tuning import curvature_radius
from samplers.warmup import warm_up_hmc
from slt import zoo
from slt.linearized import quadratic_llc
from slt.llc.estimation import estimate_potential

CHAINS, GAMMA = 8, 2.0


def posterior_of(potential, dimension: int, n_beta: float) -> LocalPosterior:
    center = torch.zeros(dimension, dtype=torch.float64)
    return LocalPosterior(Potential(potential, dimension), center, n=n_beta, beta=1.0, gamma=GAMMA)


def quadratic(h: torch.Tensor, n_beta: float) -> LocalPosterior:
    return posterior_of(lambda w: 0.5 * (h * w.square()).sum(-1), len(h), n_beta)


def test_curvatures_of_a_quadratic_are_found_at_any_temperature():
    h = torch.tensor([100.0, 10.0, 1.0, 0.0], dtype=torch.float64)
    posterior, noise = quadratic(h, 50.0), ChainNoise(0, CHAINS)
    w = posterior.draw_localizer(CHAINS, noise)
    found, spent = shared_stiffness(posterior, w, noise)
    assert found is not None
    assert spent > 0
    assert found.curvature.tolist() == pytest.approx([5000.0, 500.0, 50.0], rel=1e-6)
    for n_beta in (50.0, 200.0):
        gradient = gradient_of_potential(quadratic(h, n_beta))
        metric = found.metric(n_beta, GAMMA)
        left = largest_curvature(gradient, w, noise, curvature_radius(posterior), metric, 30)
        assert left.numpy() == pytest.approx(GAMMA, rel=1e-6)


def test_nothing_is_found_where_nothing_is_stiff():
    noise = ChainNoise(0, CHAINS)
    flat = quadratic(torch.zeros(3, dtype=torch.float64), 50.0)
    assert shared_stiffness(flat, flat.draw_localizer(CHAINS, noise), noise)[0] is None
    cold = quadratic(torch.ones(3, dtype=torch.float64), 50.0).tempered(0.0)
    assert shared_stiffness(cold, cold.draw_localizer(CHAINS, noise), noise) == (None, 0)


def test_a_single_chain_is_not_believed():
    posterior, noise = quadratic(torch.full((3,), 100.0, dtype=torch.float64), 50.0), ChainNoise(0, 1)
    assert shared_stiffness(posterior, posterior.draw_localizer(1, noise), noise) == (None, 0)


def test_chains_in_different_branches_of_a_crossing_do_not_agree():
    """|u|²|v|²: with u small its directions are stiff, with v small the others."""
    model = zoo.get("norms-3-3")
    posterior, noise = posterior_of(model.potential, 6, 1000.0), ChainNoise(0, CHAINS)
    w = torch.full((CHAINS, 6), 0.01, dtype=torch.float64)
    w[::2, :3] = 0.7
    w[1::2, 3:] = 0.7
    assert shared_stiffness(posterior, w, noise)[0] is None
    together = w[::2].repeat(2, 1)  # the same branch: agreed
    assert shared_stiffness(posterior, together, noise)[0] is not None


def warmed_up(posterior: LocalPosterior, preconditioner: str):
    noise = ChainNoise(0, CHAINS)
    return warm_up_hmc(
        posterior, posterior.draw_localizer(CHAINS, noise), noise, Batches(100, None, 0),
        name="hmc", step_size=None, preconditioner=preconditioner,
    )  # fmt: skip


def test_warm_up_flattens_an_ill_conditioned_posterior():
    h = torch.logspace(0, 3, 12, dtype=torch.float64)
    posterior = quadratic(h, 1000.0)
    plain, automatic = warmed_up(posterior, "identity"), warmed_up(posterior, "auto")
    assert isinstance(plain.run.kernel.preconditioner, Identity)
    assert isinstance(automatic.run.kernel.preconditioner, LowRank)
    assert plain.gradients_per_step >= 8 * automatic.gradients_per_step
    assert plain.gradients > 2 * automatic.gradients


def test_warm_up_leaves_an_easy_posterior_alone():
    automatic = warmed_up(quadratic(torch.tensor([0.1, 0.0], dtype=torch.float64), 10.0), "auto")
    assert isinstance(automatic.run.kernel.preconditioner, Identity)


def test_llc_of_an_ill_conditioned_quadratic():
    h = torch.logspace(-2, 2, 10, dtype=torch.float64)
    n_beta = 2000 / math.log(2000)
    found = estimate_potential(
        lambda w: 0.5 * (h * w.square()).sum(-1), torch.zeros(10, dtype=torch.float64), 2000,
        gamma=1.0, draws=1000, seed=1, progress=False,
    )  # fmt: skip
    assert found.preconditioner == "low-rank"
    assert abs(found.llc - quadratic_llc(h, n_beta, 1.0)) < 4 * found.std_error
