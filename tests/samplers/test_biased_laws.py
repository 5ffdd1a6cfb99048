"""On a quadratic a step without rejection is an affine map, whose invariant law is a matrix equation: no statistics."""

import numpy as np
import pytest
import torch
from simulation import affine_step, stationary
from targets import correlated, gaussian, ill_conditioned

from samplers.adaptive_preconditioner import Adam
from samplers.low_rank import LowRank
from samplers.noise_compensation import NoiseCompensation, NoiseState
from samplers.preconditioner import Diagonal, Identity
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD


def precision(target) -> np.ndarray:
    return np.linalg.inv(target.moments)


def low_rank(target) -> LowRank:
    """Two directions flattened, and a diagonal that is not a multiple of 1: a root that is not symmetric."""
    d = target.posterior.dimension
    vectors = torch.linalg.qr(torch.arange(2.0 * d).double().reshape(d, 2).cos())[0]
    return LowRank(vectors, torch.tensor([0.2, 3.0]).double(), torch.linspace(0.5, 2, d).double())


PRECONDITIONERS = {
    "identity": lambda target: Identity(),
    "diagonal": lambda target: Diagonal(1 / target.curvature),
    "low rank": low_rank,
}


def root_of(preconditioner, d: int) -> np.ndarray:
    return preconditioner.root(torch.eye(d).double()).T.numpy()


@pytest.mark.parametrize("name", PRECONDITIONERS)
@pytest.mark.parametrize("make_target", [ill_conditioned, correlated])
def test_sgld_has_its_biased_law(make_target, name):
    target = make_target()
    preconditioner = PRECONDITIONERS[name](target)
    root = root_of(preconditioner, target.posterior.dimension)
    s, vectors = np.linalg.eigh(root.T @ precision(target) @ root)
    epsilon = 2.0 / s.max()  # half of what is stable: the stiffest direction is twice too wide
    expected = root @ vectors @ np.diag(1 / (s * (1 - epsilon * s / 4))) @ vectors.T @ root.T
    _, covariance = stationary(
        affine_step(target.posterior, lambda g: SGLD(epsilon, preconditioner=preconditioner, gradient=g))
    )
    np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-12 * expected.max())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("name", PRECONDITIONERS)
@pytest.mark.parametrize("make_target", [ill_conditioned, correlated])
def test_sghmc_positions_are_exact(make_target, name, momentum):
    target = make_target()
    preconditioner = PRECONDITIONERS[name](target)
    root = root_of(preconditioner, target.posterior.dimension)
    epsilon = 3.0 / np.linalg.eigvalsh(root.T @ precision(target) @ root).max()
    step = affine_step(
        target.posterior,
        lambda g: SGHMC(epsilon, momentum, preconditioner=preconditioner, gradient=g),
        "velocity",
    )
    d = target.posterior.dimension
    _, covariance = stationary(step)
    np.testing.assert_allclose(covariance[:d, :d], target.moments, rtol=1e-7, atol=1e-9 * target.moments.max())


@pytest.mark.parametrize("variance", [0.5, 20.0])
def test_gradient_noise_widens_sgld_as_told_and_compensation_takes_it_out(variance):
    target = ill_conditioned()
    s, epsilon = precision(target).diagonal(), 1e-4
    step = affine_step(target.posterior, lambda g: SGLD(epsilon, gradient=g))
    _, covariance = stationary(step, variance)
    biased = 1 / (s * (1 - epsilon * s / 4))
    np.testing.assert_allclose(covariance.diagonal(), (1 + epsilon * variance / 4) * biased, rtol=1e-10)

    def known(state):
        return state._replace(noise=NoiseState(torch.full_like(state.position, variance), torch.tensor(1.0)))

    compensated = affine_step(
        target.posterior, lambda g: SGLD(epsilon, gradient=g, compensation=NoiseCompensation()), prepare=known
    )
    _, covariance = stationary(compensated, variance)
    np.testing.assert_allclose(covariance.diagonal(), biased, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_gradient_noise_in_sghmc(momentum):
    """Slow directions are widened by 1 + (ε/4) V (1 + c)/(1 - c), and the compensation takes that out."""
    slow = gaussian("slow", torch.eye(1).double() * 1e-7, 1.0, 1e-7)
    epsilon, variance = 0.02, 3.0
    excess = epsilon / 4 * variance * (1 + momentum) / (1 - momentum)
    step = affine_step(slow.posterior, lambda g: SGHMC(epsilon, momentum, gradient=g), "velocity")
    _, covariance = stationary(step, variance)
    assert covariance[0, 0] / slow.moments[0, 0] == pytest.approx(1 + excess, rel=1e-5)

    def known(state):
        return state._replace(noise=NoiseState(torch.full_like(state.position, variance), torch.tensor(1.0)))

    step = affine_step(
        slow.posterior,
        lambda g: SGHMC(epsilon, momentum, gradient=g, compensation=NoiseCompensation(floor=0.0)),
        "velocity",
        known,
    )
    _, covariance = stationary(step, variance)
    assert excess < 1  # else there would be nothing left to inject
    assert covariance[0, 0] / slow.moments[0, 0] == pytest.approx(1, rel=1e-5)


def test_sghmc_with_gradient_noise_solves_its_lyapunov_equation():
    """Written out independently for one direction: kick, half drift, friction, half drift."""
    target = ill_conditioned()
    s, epsilon, c, variance = precision(target).diagonal(), 1e-4, 0.8, 5.0
    h = epsilon**0.5
    step = affine_step(target.posterior, lambda g: SGHMC(epsilon, c, gradient=g), "velocity")
    _, covariance = stationary(step, variance)
    for i, curvature in enumerate(s):
        kick = np.array([[1, 0], [-h * curvature, 1]])
        drift, friction = np.array([[1, h / 2], [0, 1]]), np.diag([1, c])
        after = drift @ friction @ drift
        noise = variance * h * h * np.outer(after[:, 1], after[:, 1]) + (1 - c * c) * np.outer(drift[:, 1], drift[:, 1])
        a = after @ kick
        flat = np.linalg.solve(np.eye(4) - np.kron(a, a), noise.flatten())
        assert covariance[i, i] == pytest.approx(flat[0], rel=1e-8)


def test_frozen_adam_is_as_biased_as_told():
    """w' = w - (ε/2) G m', m' = b m + (1 - b) s w: too wide by εGs/(2(1 - b)) to first order, 20 times SGLD's."""
    target = gaussian("one", torch.eye(1).double(), 1.0, 1.0)
    s, b, steps = 2.0, 0.9, 500.0
    adam = Adam(adapt=10, momentum=b)

    def frozen(state):
        filled = torch.full_like(state.position, s)
        return state._replace(moments=state.moments._replace(steps=torch.tensor(steps).double(), second=filled))

    metric = adam.at(frozen(SGLD(1.0, adam).init(target.posterior, torch.zeros(1, 1).double())).moments)
    g = float(metric.root(torch.ones(1, 1).double())) ** 2
    assert g == pytest.approx(2 / (1 + s**0.5))
    for epsilon in (0.02, 0.005):
        step = affine_step(target.posterior, lambda e, eps=epsilon: SGLD(eps, adam, gradient=e), "first", frozen)
        excess = stationary(step)[1][0, 0] * s - 1
        assert excess == pytest.approx(epsilon * g * s / (2 * (1 - b)), rel=0.1)


def test_first_step_from_rest_has_the_langevin_drift():
    target = correlated()
    epsilon = 1e-3
    langevin = affine_step(target.posterior, lambda g: SGLD(epsilon, gradient=g))
    moving = affine_step(target.posterior, lambda g: SGHMC(epsilon, 0.0, gradient=g), "velocity")
    d = target.posterior.dimension
    np.testing.assert_allclose(moving[0][:d, :d], langevin[0], rtol=1e-12)
    # Noise: half now, and the velocity carries the other half into the next step.
    np.testing.assert_allclose(moving[1][:d] + moving[0][:d, d:] @ moving[1][d:], langevin[1], rtol=1e-12)
