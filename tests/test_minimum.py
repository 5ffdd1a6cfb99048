"""The gradient at w* and the shift of λ̂ that it predicts, against a quadratic where both are exact."""

import math

import pytest
import torch

import slt
import slt.llc.estimation
from samplers.curvature import extreme_eigenvalues
from samplers.engine import Potential
from samplers.posterior import LocalPosterior
from slt.llc.minimum import check_minimum

CURVATURE = torch.tensor([3.0, 1.0, 0.2, 0.0], dtype=torch.float64)
OFFSET = torch.tensor([0.05, -0.1, 0.2, 0.3], dtype=torch.float64)


def quadratic_loss(w):
    return 0.5 * (CURVATURE * w.square()).sum(-1)


def test_the_shift_is_exact_on_a_quadratic():
    n_beta, gamma = 50.0, 2.0
    posterior = LocalPosterior(Potential(quadratic_loss, 4), OFFSET, n=100, beta=0.5, gamma=gamma)
    check = check_minimum(posterior, n=100)
    gradient = CURVATURE * OFFSET
    a = n_beta * CURVATURE + gamma
    shift = (-(n_beta**2) * gradient**2 / a + 0.5 * n_beta**3 * CURVATURE * gradient**2 / a**2).sum()
    assert check.gradient_norm == pytest.approx(float(gradient.norm()))
    assert check.shift == pytest.approx(float(shift), rel=1e-3)
    assert not check.saddle


def test_the_shift_is_what_a_run_away_from_the_minimum_finds():
    n = 100
    n_beta = n / math.log(n)
    run = slt.llc.estimation.estimate_potential(quadratic_loss, OFFSET, n, gamma=2.0, draws=4000, chains=16)
    at_minimum = 0.5 * float((n_beta * CURVATURE / (n_beta * CURVATURE + 2.0)).sum())
    posterior = LocalPosterior(Potential(quadratic_loss, 4), OFFSET, n=n, beta=1 / math.log(n), gamma=2.0)
    predicted = at_minimum + check_minimum(posterior, n).shift
    assert abs(run.llc - predicted) / run.std_error < 4


def test_a_minimum_has_no_shift_and_a_maximum_is_a_saddle():
    zero = torch.zeros(4, dtype=torch.float64)
    at = LocalPosterior(Potential(quadratic_loss, 4), zero, n=100, beta=0.5, gamma=2.0)
    assert check_minimum(at, 100).shift == 0
    over = LocalPosterior(Potential(lambda w: -quadratic_loss(w), 4), OFFSET, n=100, beta=0.5, gamma=2.0)
    assert check_minimum(over, 100).saddle


@pytest.mark.parametrize("iterations", [8, 40])
def test_extreme_eigenvalues_of_a_matrix(iterations):
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64))
    values = torch.cat([torch.tensor([-5.0, 100.0]), torch.linspace(0, 30, 38)]).double()
    matrix = basis @ torch.diag(values) @ basis.T
    start = torch.randn(1, 40, generator=generator, dtype=torch.float64)
    low, high = extreme_eigenvalues(lambda v: v @ matrix, start, iterations)
    assert -5 - 1e-9 < low < -3
    assert 99 < high < 100 + 1e-9


def test_extreme_eigenvalues_of_less_than_a_matrix():
    start = torch.ones(1, 3, dtype=torch.float64)
    assert extreme_eigenvalues(lambda v: 2 * v, start, 16) == pytest.approx((2.0, 2.0))
    assert extreme_eigenvalues(lambda v: v * math.nan, start, 16) == (0.0, 0.0)
