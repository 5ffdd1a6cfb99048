"""Preconditioners that are measured or that move."""

import numpy as np
import pytest
import torch
from simulation import start_run, z_scores
from targets import correlated, gaussian, ill_conditioned

from samplers.adaptive_preconditioner import Adam, RMSprop
from samplers.curvature import gradient_of_potential, largest_curvature, leading_eigenpairs
from samplers.engine import Potential
from samplers.errors import InputError
from samplers.hmc import HMC
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Identity
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT


def quartic(dimension: int) -> LocalPosterior:
    """U = Σ w⁴/4 + w²/2."""
    loss = Potential(lambda w: 0.25 * w.pow(4).sum(-1), dimension)
    return LocalPosterior(loss, torch.zeros(dimension).double(), n=1, beta=1.0, gamma=1.0)


def second_moment(log_weight=lambda x: 0 * x) -> float:
    """E[w²] of the density exp(-w⁴/4 - w²/2 + log_weight)."""
    x = np.linspace(-6, 6, 4001)
    p = np.exp(-(x**4) / 4 - x**2 / 2 + log_weight(x))
    return float((p * x**2).sum() / p.sum())


def mean_square(kernel, steps: int, dimension: int = 300, warmup: int = 400) -> torch.Tensor:
    """E[w²] on the quartic, one value per chain."""
    run = start_run(quartic(dimension), kernel, 8)
    total = torch.zeros(8).double()
    for step in range(warmup + steps):
        run.step()
        if step >= warmup:
            total += run.position.square().mean(-1)
    return total / steps


def test_a_metric_that_moves_needs_its_correction():
    """G of the last gradient alone: uncorrected, the law is π/G and stays so as ε → 0; corrected, it is π."""
    wrong = second_moment(lambda x: -np.log(2 / (1 + np.abs(x**3 + x))))
    exact = second_moment()
    assert wrong > 1.6 * exact
    uncorrected = mean_square(SGLD(0.0125, RMSprop(decay=0.0, adapt=None, correction=False)), 2000)
    assert float(uncorrected.mean()) == pytest.approx(wrong, rel=0.03)
    corrected = mean_square(SGLD(0.0125, RMSprop(decay=0.0, adapt=None)), 2000)
    assert float(corrected.mean()) == pytest.approx(exact, rel=0.03)


def test_correction_with_a_longer_memory():
    exact = second_moment()
    uncorrected, corrected = (
        float(mean_square(SGLD(0.05, RMSprop(decay=0.9, adapt=None, correction=correction)), 1000).mean()) / exact - 1
        for correction in (False, True)
    )
    assert uncorrected > 0.3
    assert abs(corrected) < 0.05


@pytest.mark.parametrize("kind", [RMSprop, Adam])
def test_moments_are_the_bias_corrected_averages(kind):
    """Against the averages as they are usually written: m ← b m + (1 - b) g, divided by 1 - bᵗ."""
    target = correlated()
    preconditioner = kind(decay=0.9, adapt=1000)
    state = preconditioner.init(target.posterior, torch.zeros(3, 4).double())
    generator = torch.Generator().manual_seed(0)
    second, first = torch.zeros(3, 4).double(), torch.zeros(3, 4).double()
    for step in range(1, 8):
        gradient = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        state = preconditioner.update(state, gradient)
        second = 0.9 * second + 0.1 * gradient.square()
        torch.testing.assert_close(state.second, second / (1 - 0.9**step))
        if kind is Adam:
            first = 0.9 * first + 0.1 * gradient
            torch.testing.assert_close(state.first, first / (1 - 0.9**step))
    a = 0.5**0.5  # √γ
    g = 2 * a / (a + state.second.sqrt())
    torch.testing.assert_close(preconditioner.at(state).root(torch.ones(3, 4).double()), g.sqrt())


def test_frozen_rmsprop_has_the_law_of_its_metric():
    target = ill_conditioned()
    kernel = SGLD(0.005, RMSprop(adapt=2000))
    run = start_run(target.posterior, kernel, 32)
    for _ in range(2000):
        run.step()
    metric = kernel.preconditioner.at(run.state.moments)
    frozen = run.state.moments.second
    total = torch.zeros(32, 5).double()
    for _ in range(3000):
        run.step()
        total += run.position.square()
    assert torch.equal(run.state.moments.second, frozen)
    s = torch.tensor(1 / target.moments.diagonal())
    g = metric.root(torch.ones(32, 5).double()).square()
    assert float((g[:, -1] / g[:, 0]).mean()) == pytest.approx(2 / (1 + 100), rel=0.3)  # 2√γ/(√γ + √s), s = 1e4
    expected = 1 / (s * (1 - 0.005 * g * s / 4))
    assert float(z_scores(total / 3000 / expected, 1.0).abs().max()) < 4


def test_second_moment_of_the_gradient_is_the_mean_curvature():
    """E[(∂U)²] = E[∂²U]: what RMSprop averages is a curvature."""
    posterior, preconditioner = quartic(400), RMSprop(decay=0.9999)
    run = start_run(posterior, SGHMC(0.05, 0.8), 8)
    moments = preconditioner.init(posterior, run.position)
    for step in range(1200):
        run.step()
        if step >= 200:
            gradient = posterior.gradient(posterior.loss.value_and_grad(run.position)[1], run.position)
            moments = preconditioner.update(moments, gradient)
    assert float(moments.second.mean()) == pytest.approx(1 + 3 * second_moment(), rel=0.01)


def test_kernels_that_need_a_fixed_metric_say_so():
    for make in (HMC, SGHMC, SGNHT):
        with pytest.raises(InputError, match=r"needs a fixed preconditioner .* got RMSprop, which adapts"):
            make(0.1, preconditioner=RMSprop())
    with pytest.raises(InputError, match="must stop adapting"):
        Adam(adapt=None)
    with pytest.raises(InputError, match="decay"):
        RMSprop(decay=1.0)
    with pytest.raises(InputError, match="damping"):
        RMSprop(damping=0.0)
    with pytest.raises(InputError, match="adapt"):
        RMSprop(adapt=0)


def test_leading_eigenpairs_are_those_of_a_dense_solver():
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(60, 60, generator=generator, dtype=torch.float64))[0]
    spectrum = torch.cat([torch.tensor([-3.0, 0.0]), torch.logspace(-3, 3, 58)]).double()
    matrix = basis @ torch.diag(spectrum) @ basis.T
    start = torch.randn(1, 60, generator=generator, dtype=torch.float64)
    values, vectors = leading_eigenpairs(lambda v: v @ matrix, start, 5, 40)
    torch.testing.assert_close(values, spectrum.sort(descending=True).values[:5])
    torch.testing.assert_close(matrix @ vectors, vectors * values, atol=1e-6, rtol=1e-6)
    # A matrix of rank two has no more to find: it stops by itself.
    low = 4.0 * basis[:, :1] @ basis[:, :1].T + basis[:, 1:2] @ basis[:, 1:2].T
    values, _ = leading_eigenpairs(lambda v: v @ low, start, 5, 40)
    assert values[:2].tolist() == pytest.approx([4.0, 1.0])
    assert len(values) == 3


@pytest.mark.parametrize("with_diagonal", [False, True])
def test_low_rank_from_curvature_flattens_the_stiff_directions(with_diagonal):
    generator = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(30, 30, generator=generator, dtype=torch.float64))[0]
    hessian = basis[:, :4] @ torch.diag(torch.tensor([1000.0, 300.0, 100.0, 30.0]).double()) @ basis[:, :4].T
    target = gaussian("stiff", hessian, 1.0, 1.0)
    gradient = gradient_of_potential(target.posterior)
    diagonal = Diagonal.from_curvature(target.curvature, 1.0).diagonal if with_diagonal else None
    metric = LowRank.from_curvature(gradient, target.posterior.centers, ChainNoise(0, 1), 0.1, 1.0, 4, diagonal)
    root = metric.root(torch.eye(30).double()).T
    torch.testing.assert_close(metric.root_transpose(torch.eye(30).double()), root)
    preconditioned = torch.linalg.eigvalsh(root.T @ (hessian + torch.eye(30).double()) @ root)
    assert float(preconditioned.max()) < 1.5
    assert len(metric.values) == 4


def test_bad_low_rank_metrics_are_refused():
    with pytest.raises(InputError, match="orthonormal"):
        LowRank(torch.ones(3, 2), torch.ones(2))
    with pytest.raises(InputError, match="positive"):
        LowRank(torch.eye(3)[:, :1], -torch.ones(1))
    with pytest.raises(InputError, match=r"vectors \(d, k\)"):
        LowRank(torch.eye(3), torch.ones(2))


def test_curvature_is_measured_at_each_chains_own_centre_and_localization():
    loss = Potential(lambda w: 0.5 * (w * torch.tensor([1.0, 3.0]).double() * w).sum(-1), 2)
    centers, owner = torch.tensor([[0.0, 0.0], [1.0, 2.0]]).double(), [1, 0, 1]
    gamma = torch.tensor([1.0, 10.0, 100.0]).double()
    posterior = LocalPosterior(loss, centers, n=2.0, beta=1.0, gamma=gamma, owner=owner)
    gradient, w = gradient_of_potential(posterior), posterior.center_of(3)
    found = largest_curvature(gradient, w, ChainNoise(0, 3), 0.1, Identity(), 60)
    assert found.tolist() == pytest.approx([7.0, 16.0, 106.0], rel=1e-3)
