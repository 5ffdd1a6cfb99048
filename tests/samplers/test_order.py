"""How fast the bias of uncorrected kernels goes with ε, on a quartic, where no closed form is known."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline, RectBivariateSpline
from scipy.optimize import curve_fit
from simulation import start_run, z_scores

from samplers.engine import Potential
from samplers.kernel import Kernel
from samplers.posterior import LocalPosterior
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT

DIMENSION, CHAINS = 500, 8  # independent coordinates: as many copies of one chain in one dimension


def posterior() -> LocalPosterior:
    """U = Σ w⁴/4 + w²/2."""
    loss = Potential(lambda w: 0.25 * w.pow(4).sum(-1), DIMENSION)
    return LocalPosterior(loss, torch.zeros(DIMENSION).double(), n=1, beta=1.0, gamma=1.0)


def exact_second_moment() -> float:
    x = np.linspace(-6, 6, 4001)
    p = np.exp(-(x**4) / 4 - x**2 / 2)
    return float((p * x**2).sum() / p.sum())


def slope(w: np.ndarray) -> np.ndarray:
    return w**3 + w


def invariant_mean(move, value) -> float:
    """E[value(u)] under the invariant law of u' = move(u, ξ), ξ ~ N(0, 1): the operator on a grid, to a high power."""
    grid = np.linspace(-4.5, 4.5, 500)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    landing = np.clip(move(grid[:, None], nodes), grid[0], grid[-1])
    operator = np.einsum("ijk,j->ik", CubicSpline(grid, np.eye(len(grid)))(landing), weights / weights.sum())
    for _ in range(14):
        operator = operator @ operator
    return float((operator @ value(grid))[len(grid) // 2])


def sgld_law(epsilon: float) -> float:
    """E[w²]."""
    return invariant_mean(lambda w, xi: w - epsilon / 2 * slope(w) + epsilon**0.5 * xi, lambda w: w**2)


def averaged_noise_law(epsilon: float) -> float:
    """E[w²] of SGHMC with momentum 0: w = u + h ξ/2 with u' = u + h ξ - (ε/2) U'(u + h ξ/2), a chain in u alone."""
    h = epsilon**0.5
    return invariant_mean(lambda u, xi: u + h * xi - epsilon / 2 * slope(u + h / 2 * xi), lambda u: u**2 + epsilon / 4)


def simulated(kernel: Kernel, steps: int) -> torch.Tensor:
    """Mean of w² of each chain."""
    run = start_run(posterior(), kernel, CHAINS)
    for _ in range(400):
        run.step()
    total = torch.zeros(CHAINS).double()
    for _ in range(steps):
        run.step()
        total += run.position.square().mean(-1)
    return total / steps


def momentum_law(epsilon: float, c: float = 0.5) -> float:
    """E[w²] of SGHMC with momentum c: its operator on functions of (w, v), on a grid, until they are constant."""
    h = epsilon**0.5
    w, v = np.linspace(-4.2, 4.2, 121), np.linspace(-6, 6, 61)
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    position, velocity = np.meshgrid(w, v, indexing="ij")
    velocity = velocity - h * slope(position)
    position = position + h / 2 * velocity
    velocity = c * velocity[..., None] + (1 - c * c) ** 0.5 * nodes
    position = np.clip(position[..., None] + h / 2 * velocity, w[0], w[-1])
    velocity = np.clip(velocity, v[0], v[-1])
    value = np.repeat(w[:, None] ** 2, len(v), axis=1)
    core = np.s_[30:90, 15:45]
    while np.ptp(value[core]) > 1e-8:
        spline = RectBivariateSpline(w, v, value)
        value = spline.ev(position.ravel(), velocity.ravel()).reshape(position.shape) @ weights / weights.sum()
    return float(value[core].mean())


KERNELS = {
    "sgld": (SGLD, sgld_law, (0.02, 0.04, 0.08), 1),
    "sghmc without momentum": (lambda epsilon: SGHMC(epsilon, 0.0), averaged_noise_law, (0.05, 0.1, 0.2), 2),
    "sghmc": (lambda epsilon: SGHMC(epsilon, 0.5), momentum_law, (0.0125, 0.025, 0.05), 2),
}
NAMES = ["sgld", "sghmc without momentum", pytest.param("sghmc", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", NAMES)
def test_biased_law_and_its_order(name):
    make, law, steps, order = KERNELS[name]
    bias = [law(epsilon) / exact_second_moment() - 1 for epsilon in steps]
    fitted = np.polyfit(np.log(steps), np.log(np.abs(bias)), 1)[0]
    assert fitted == pytest.approx(order, abs=0.15)
    found = simulated(make(0.2), 3000)
    assert abs(float(z_scores(found, law(0.2)))) < 4
    assert float(found.std() / CHAINS**0.5) < 1e-3 * float(found.mean())


def fitted_order(make, steps: tuple[float, ...], draws: int) -> tuple[float, float]:
    """p and its error in bias = a εᵖ, fitted to three simulations."""
    runs = [simulated(make(epsilon), draws) for epsilon in steps]
    bias = np.array([float(run.mean()) for run in runs]) - exact_second_moment()
    error = np.array([float(run.std() / CHAINS**0.5) for run in runs])
    scale = bias[-1] / steps[-1]
    (_, p), covariance = curve_fit(
        lambda x, a, p: a * x**p, np.array(steps), bias / scale, p0=(1.0, 1.5), sigma=error / abs(scale),
        absolute_sigma=True,
    )  # fmt: skip
    return p, covariance[1, 1] ** 0.5


@pytest.mark.slow
def test_order_of_the_thermostat():
    """At least first order, to which the reading of |v|² at discrete velocities brings it down from SGHMC's second."""
    p, error = fitted_order(lambda epsilon: SGNHT(epsilon, 0.8), (0.025, 0.05, 0.1), 40_000)
    assert error < 0.2
    assert p > 1 - 4 * error
    assert p > 0.5


def test_momentum_kernels_are_far_less_biased_than_langevin_steps():
    exact = exact_second_moment()
    langevin = sgld_law(0.1) / exact - 1
    for kernel in (SGHMC(0.1, 0.8), SGNHT(0.1, 0.8)):
        found = simulated(kernel, 1500)
        assert abs(float(found.mean()) / exact - 1) < 0.3 * langevin
