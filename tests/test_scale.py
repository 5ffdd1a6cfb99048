"""Slopes in β and γ, and reweighting, against the closed form of a quadratic."""

import math

import pytest
import torch

from slt.estimation import estimate_potential
from slt.linearized import quadratic_llc
from slt.scale import reweighted, sensitivity

CURVATURE = torch.tensor([3.0, 1.0, 0.05, 0.01], dtype=torch.float64)
N, GAMMA = 1000, 5.0
N_BETA = N / math.log(N)


@pytest.fixture(scope="module")
def run():
    center = torch.zeros(4, dtype=torch.float64)
    return estimate_potential(
        lambda w: 0.5 * (CURVATURE * w.square()).sum(-1), center, N, gamma=GAMMA, chains=32, draws=2000
    )


def test_slopes_and_heat_capacity(run):
    found = sensitivity(run.trace, N_BETA, GAMMA)
    ratio = N_BETA * CURVATURE / (N_BETA * CURVATURE + GAMMA)
    llc = float(0.5 * ratio.sum())
    heat = float(0.5 * ratio.square().sum())
    slope = float((0.5 * ratio * (1 - ratio)).sum()) / llc
    assert abs(found.heat_capacity - heat) / found.heat_capacity_error < 4
    assert abs(found.beta_slope.value - slope) / found.beta_slope.std_error < 4
    assert abs(found.gamma_slope.value + slope) / found.gamma_slope.std_error < 4
    assert found.beta_slope.std_error < 0.03
    assert not found.plateau


def test_reweighting_to_a_nearby_scale(run):
    for beta_factor, gamma_factor in [(1.3, 1.0), (1.0, 0.7), (0.8, 1.2)]:
        value, share = reweighted(run.trace, N_BETA, GAMMA, beta_factor, gamma_factor)
        exact = quadratic_llc(CURVATURE, N_BETA * beta_factor, GAMMA * gamma_factor)
        error = run.std_error / share**0.5 * 2
        assert 0.3 < share < 1
        assert abs(value - exact) < 4 * error
        assert abs(value - run.llc) > 0.02  # far enough for the reweighting to matter


def test_a_constant_loss_has_no_slopes():
    run = estimate_potential(lambda w: 0 * w.sum(-1), torch.zeros(2, dtype=torch.float64), 100, gamma=1.0, draws=50)
    assert sensitivity(run.trace, 20.0, 1.0).heat_capacity == 0
