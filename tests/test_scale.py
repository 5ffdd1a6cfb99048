"""Slopes in β and γ, and reweighting, against the closed forms of quadratics and of a linearized network."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import slt
from samplers.trace import Trace
from slt.linearized import quadratic_llc
from slt.llc.estimation import estimate_potential
from slt.llc.sensitivity import JACKKNIFE_BLOCKS, jackknife, reweighted, sensitivity

CURVATURE = torch.tensor([3.0, 1.0, 0.05, 0.01], dtype=torch.float64)
N, GAMMA = 1000, 5.0
N_BETA = N / math.log(N)
# At half of β and below the variance of the weights diverges as γ/nβh goes to 0: no error of theirs can be trusted.
SCALES = [(1.3, 1.0), (0.7, 1.0), (1.0, 0.5), (1.0, 1.7), (0.8, 1.2)]


def run_on_quadratic(chains, draws):
    center = torch.zeros(4, dtype=torch.float64)
    return estimate_potential(
        lambda w: 0.5 * (CURVATURE * w.square()).sum(-1),
        center,
        N,
        gamma=GAMMA,
        chains=chains,
        draws=draws,
        preconditioner="identity",
    )


@pytest.fixture(scope="module")
def run():
    return run_on_quadratic(32, 2000)


@pytest.fixture(scope="module")
def linearized(linearized_tanh):
    """A linearized tanh network on its own outputs: estimate at γ = 20, and the curvature of its quadratic loss."""
    model, data, curvature = linearized_tanh
    estimate = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), gamma=20.0, chains=16, draws=1000)
    return estimate, curvature


def exact_slopes(curvature, n_beta, gamma):
    """Heat capacity and d log λ̂ / d log β of a quadratic; the slope in γ is the latter's negative."""
    ratio = n_beta * curvature / (n_beta * curvature + gamma)
    return float(0.5 * ratio.square().sum()), float((ratio * (1 - ratio)).sum() / ratio.sum())


@pytest.mark.parametrize("by", ["radial derivative", "distance"])
def test_slopes_and_heat_capacity(run, by):
    trace = run.trace if by == "radial derivative" else dataclasses.replace(run.trace, radial=None)
    found = sensitivity(trace, N_BETA, GAMMA)
    heat, slope = exact_slopes(CURVATURE, N_BETA, GAMMA)
    assert abs(found.heat_capacity - heat) / found.heat_capacity_error < 4
    assert abs(found.beta_slope.value - slope) / found.beta_slope.std_error < 4
    assert abs(found.gamma_slope.value + slope) / found.gamma_slope.std_error < 4
    assert found.beta_slope.std_error < 0.03
    assert found.gamma_slope.std_error < 0.03
    assert not found.plateau


def test_slopes_of_a_linearized_network(linearized):
    estimate, curvature = linearized
    heat, slope = exact_slopes(curvature, estimate.n * estimate.beta, estimate.gamma)
    found = estimate.sensitivity
    assert abs(found.heat_capacity - heat) / found.heat_capacity_error < 4
    assert abs(found.beta_slope.value - slope) / found.beta_slope.std_error < 4
    assert abs(found.gamma_slope.value + slope) / found.gamma_slope.std_error < 4


def test_radial_derivatives_leave_the_flat_directions_out():
    """1,000 directions that the loss does not see: they drown the covariance with the distance, not the radial form."""
    curvature = torch.cat([CURVATURE, torch.zeros(1000, dtype=torch.float64)])
    center = torch.zeros(len(curvature), dtype=torch.float64)
    run = estimate_potential(
        lambda w: 0.5 * (curvature * w.square()).sum(-1), center, N, gamma=GAMMA, chains=8, draws=300
    )
    sharp = sensitivity(run.trace, N_BETA, GAMMA).gamma_slope
    blunt = sensitivity(dataclasses.replace(run.trace, radial=None), N_BETA, GAMMA).gamma_slope
    _, slope = exact_slopes(CURVATURE, N_BETA, GAMMA)
    assert abs(sharp.value + slope) / sharp.std_error < 4
    assert abs(blunt.value + slope) / blunt.std_error < 4
    assert sharp.std_error < 0.2 * blunt.std_error


@pytest.mark.parametrize(("beta_factor", "gamma_factor"), SCALES)
def test_reweighting_to_a_nearby_scale(run, beta_factor, gamma_factor):
    found = reweighted(run.trace, N_BETA, GAMMA, beta_factor, gamma_factor)
    exact = quadratic_llc(CURVATURE, N_BETA * beta_factor, GAMMA * gamma_factor)
    own = quadratic_llc(CURVATURE, N_BETA, GAMMA)
    assert 0.3 < found.share < 1
    assert abs(found.llc - exact) / found.std_error < 4
    assert abs(found.change.value - math.log(exact / own)) / found.change.std_error < 4
    assert abs(found.llc - run.llc) > 5 * found.std_error  # far enough for the reweighting to matter


@pytest.mark.parametrize(("beta_factor", "gamma_factor"), SCALES)
def test_reweighting_of_a_linearized_network(linearized, beta_factor, gamma_factor):
    estimate, curvature = linearized
    n_beta = estimate.n * estimate.beta
    found = reweighted(estimate.trace, n_beta, estimate.gamma, beta_factor, gamma_factor)
    exact = quadratic_llc(curvature, n_beta * beta_factor, estimate.gamma * gamma_factor)
    assert found.share > 0.03
    assert abs(found.llc - exact) / found.std_error < 4


def test_the_share_falls_where_reweighting_does_not_reach(run):
    near, far = (reweighted(run.trace, N_BETA, GAMMA, gamma_factor=factor).share for factor in (0.8, 0.02))
    assert near > 0.9
    assert far < 0.05


def test_errors_of_a_single_chain_come_from_its_blocks():
    single = run_on_quadratic(1, 4000)
    found = sensitivity(single.trace, N_BETA, GAMMA)
    heat, slope = exact_slopes(CURVATURE, N_BETA, GAMMA)
    assert abs(found.heat_capacity - heat) / found.heat_capacity_error < 4
    assert abs(found.gamma_slope.value + slope) / found.gamma_slope.std_error < 4
    assert found.gamma_slope.std_error < 0.2


def test_a_constant_loss_has_no_slopes():
    run = estimate_potential(lambda w: 0 * w.sum(-1), torch.zeros(2, dtype=torch.float64), 100, gamma=1.0, draws=50)
    assert sensitivity(run.trace, 20.0, 1.0).heat_capacity == 0
    there = reweighted(run.trace, 20.0, 1.0, beta_factor=2.0)
    assert (there.llc, there.share) == (0.0, 1.0)
    assert math.isnan(there.change.value)


@pytest.mark.parametrize("chains", [1, 2, 3, 4, 16])
def test_jackknife_of_a_mean_is_its_standard_error(chains):
    draws = np.random.default_rng(chains).normal(2.0, 1.0, (chains, 960))
    value, error = jackknife([draws], lambda mean: mean)
    assert value == pytest.approx([draws.mean()])
    blocks = 1 if chains >= 4 else -(-JACKKNIFE_BLOCKS // chains)
    means = np.array([block.mean() for chain in draws for block in np.array_split(chain, blocks)])
    assert error[0] == pytest.approx(means.std(ddof=1) / len(means) ** 0.5, rel=0.02)  # blocks differ by a draw


def test_jackknife_of_two_draws_or_one():
    assert jackknife([np.array([[1.0, 3.0]])], lambda mean: mean)[1] == pytest.approx([1.0])
    assert np.isnan(jackknife([np.array([[1.0]])], lambda mean: mean)[1]).all()


def test_pieces_of_a_run_keep_the_radial_derivative_where_there_is_one():
    from samplers.trace import concatenate

    ones = np.ones((2, 3))
    without, with_it = Trace(ones, ones, ones, ones), Trace(ones, ones, ones, ones, radial=ones)
    assert concatenate([without, without]).radial is None
    joined = concatenate([without, with_it]).radial
    assert np.isnan(joined[:, :3]).all()
    assert (joined[:, 3:] == 1).all()
