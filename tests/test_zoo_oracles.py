"""The finite-t oracles of the zoo against independent integrals, Monte Carlo and their own limits."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, special

from samplers.errors import InputError
from slt import zoo
from slt.zoo.oracles import product_minus_truth, rank_zero_regression

WITH_ORACLE = [m for m in zoo.models() if m.has_oracle]
QUICK = [m for m in WITH_ORACLE if m.name not in ("tanh-3", "polynomial-network-L3-r2")]  # a second a call


def ids(models):
    return [model.name for model in models]


def near_center(model, count, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, model.dimension, generator=generator, dtype=torch.float64)
    return model.center + scale * noise


@pytest.mark.parametrize(("n", "expected"), [(1e3, 0.361), (1e5, 0.411), (1e7, 0.436)])
def test_known_finite_n_values(n, expected):
    assert zoo.get("crossing-2-2").mean_potential(n / math.log(n)) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("model", QUICK, ids=ids(QUICK))
def test_oracles_agree_with_plain_monte_carlo(model):
    """Z(t) and E[tK] from draws of the localizing Gaussian, where t is small enough for them to reach."""
    t, compared = np.array([0.01, 0.1, 1.0, 20.0]), 0
    for gamma in (1.0, 25.0):
        k = model.potential(near_center(model, 50_000, gamma**-0.5, seed=3)).numpy()
        log_z_exact, means = model.oracle(t, gamma)
        for i in range(len(t)):
            weight = np.exp(-t[i] * (k - k.min()))
            if weight.sum() ** 2 / (weight**2).sum() < 1000:
                continue
            mean = (weight * t[i] * k).mean() / weight.mean()
            log_z_error = weight.std() / weight.mean() / math.sqrt(len(k))
            mean_error = (weight * (t[i] * k - mean)).std() / weight.mean() / math.sqrt(len(k))
            log_z = math.log(weight.mean()) - t[i] * k.min()
            assert abs(log_z - log_z_exact[i]) < 4 * log_z_error + 1e-9
            assert abs(mean - means[i]) < 4 * mean_error + 1e-9
            compared += 1
    assert compared >= 2


NORMS = {
    "w4": ([1], [4], 1.0),
    "crossing-2-2": ([1, 1], [2, 2], 1.0),
    "crossing-2-2-2": ([1, 1, 1], [2, 2, 2], 1.0),
    "crossing-2-4": ([1, 1], [2, 4], 1.0),
    "crossing-4-4": ([1, 1], [4, 4], 1.0),
    "norms-3-3": ([3, 3], [2, 2], 1.0),
    "norms-2-5": ([2, 5], [2, 2], 1.0),
    "product-5-zero": ([1] * 5, [2] * 5, 1 / 6),
    "deep-linear-1-3-3-3-r0": ([3, 3, 3], [2, 2, 2], 0.5),
    "reduced-rank-1-1-1-r0": ([1, 1], [2, 2], 0.5),
    "relu-1": ([1, 1], [2, 2], 1 / 12),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("gamma", [1.0, 100.0])
def test_products_of_norms_against_a_mellin_barnes_integral(name, gamma):
    """Z(t) = 1/(2πi) ∫ Γ(s) t^-s E[K^-s] ds on Re s = λ/2, where E ‖v‖^-ps is a ratio of Gamma functions."""
    dimensions, powers, scale = (np.array(part, dtype=float) for part in NORMS[name])
    y = np.linspace(-60, 60, 120_001)
    s = float(zoo.get(name).rlct.learning_coefficient) / 2 + 1j * y
    log_moment = -s * np.log(scale / gamma ** (powers.sum() / 2))
    for d, p in zip(dimensions, powers, strict=True):
        log_moment += -0.5 * p * s * np.log(2) + special.loggamma((d - p * s) / 2) - special.loggamma(d / 2)
    t = np.array([1.0, 1e3, 1e6, 1e10])
    kernel = np.exp(special.loggamma(s) + log_moment - s * np.log(t)[:, None])
    z = integrate.trapezoid(kernel.real, y) / (2 * np.pi)
    mean = integrate.trapezoid((s * kernel).real, y) / (2 * np.pi) / z
    model = zoo.get(name)
    np.testing.assert_allclose(model.free_energy(t, gamma), -np.log(z), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.mean_potential(t, gamma), mean, rtol=1e-8, atol=1e-11)


def test_crossing_against_its_bessel_function():
    t = np.array([1.0, 1e4, 1e10])
    z = special.k0e(1 / (8 * t)) / np.sqrt(4 * np.pi * t)
    np.testing.assert_allclose(zoo.get("crossing-2-2").free_energy(t), -np.log(z), rtol=1e-12)


@pytest.mark.parametrize(("M", "N"), [(2, 2), (3, 2), (3, 3), (6, 2)])
def test_reduced_rank_against_a_bartlett_integral(M, N):
    """det(1 + τAAᵀ) for A of shape 2×M in the Cholesky factor of AAᵀ: χ²_M, χ²_(M-1) and a Gaussian."""
    x = np.arange(-60.0, 8.0, 0.5)
    a, b, c = np.meshgrid(x, x, x, indexing="ij", sparse=True)

    def log_chi2(u, d):
        return d / 2 * u - np.exp(u) / 2 - d / 2 * np.log(2) - special.gammaln(d / 2)

    log_weight = log_chi2(a, M) + log_chi2(b, M - 1) + log_chi2(c, 1) + 3 * np.log(0.5)
    first, second, cross = np.exp(a), np.exp(b), np.exp(c)
    t, gamma = np.array([1.0, 1e4, 1e10]), 3.0
    expected = []
    for tau in t / gamma**2:
        log_det = np.log1p(tau * (first + second + cross) + tau**2 * first * second)
        expected.append(-special.logsumexp(log_weight - N / 2 * log_det))
    np.testing.assert_allclose(-rank_zero_regression(M, 2, N)(t, gamma)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("center", [[1.0, 1.0], [2.0, -0.5, 1.0], [1.0] * 5, [0.0, 1.0, 1.0], [0.0, 0.0, 2.0]])
@pytest.mark.parametrize("gamma", [1.0, 100.0])
def test_products_minus_a_truth_against_conditional_monte_carlo(center, gamma):
    """Given all factors but the last, K is quadratic in it; the average over the others is by a million draws."""
    generator = np.random.default_rng(4)
    t = np.array([1.0, 1e4, 1e8])
    others = np.array(center[:-1]) + generator.standard_normal((1_000_000, len(center) - 1)) / math.sqrt(gamma)
    q, truth = others.prod(1), math.prod(center)
    log_z, _ = product_minus_truth(center)(t, gamma)
    for i, value in enumerate(t):
        growth = 1 + 2 * value * q**2 / gamma
        sample = np.exp(-value * (q * center[-1] - truth) ** 2 / growth) / np.sqrt(growth)
        error = sample.std() / math.sqrt(len(sample)) / sample.mean()
        assert error < 0.05
        assert abs(np.log(sample.mean()) - log_z[i]) < 4 * error


@pytest.mark.parametrize(("name", "units"), [("tanh-1", 1), ("tanh-2", 2), ("tanh-3", 3), ("relu-2", 2)])
def test_single_layer_oracles_against_conditional_monte_carlo(name, units):
    """Given the input weights K is quadratic in the output weights: its Hessian there is t times the Gram matrix."""
    model, gamma, t = zoo.get(name), 2.0, np.array([1.0, 1e3])
    b = near_center(model, 20_000, gamma**-0.5)[:, :units]

    def output_potential(a, b):
        return model.potential(torch.cat([b, a]))

    gram = torch.func.vmap(lambda b: torch.func.hessian(output_potential)(torch.zeros_like(b), b))(b)
    free = model.free_energy(t, gamma)
    for i, value in enumerate(t):
        sample = torch.linalg.det(torch.eye(units, dtype=torch.float64) + value / gamma * gram).rsqrt()
        error = (sample.std() / sample.mean()).item() / math.sqrt(len(sample))
        assert error < 0.05
        assert abs(math.log(sample.mean()) + free[i]) < 4 * error


@pytest.mark.parametrize("name", ["tanh-2", pytest.param("tanh-3", marks=pytest.mark.slow)])
def test_tanh_oracles_hold_where_the_gram_matrix_is_rounding(name):
    """Near zero its eigenvalues go like b² to b¹⁰, and from log t = 40 on float64 has the largest only."""
    model = zoo.get(name)
    assert model.mean_potential(math.exp(70.0)) == pytest.approx(float(model.rlct.learning_coefficient), abs=1e-3)


T = np.array([1.0, 1e3, 1e6, 1e10])


def check_log_z(name, expected):
    np.testing.assert_allclose(zoo.get(name).oracle(T, 1.0)[0], np.log(expected), rtol=1e-6)


def gaussian(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def test_parabola_against_one_dimensional_quadrature():
    """The integral over y is Gaussian, and leaves one over x which scales as t^(-1/6)."""

    def z(t):
        def over_x(x):
            return gaussian(x) * math.exp(-t * x**6 - t * x**4 / (1 + 2 * t))

        scale = min(4 * t ** (-1 / 6), 8)
        return 2 * integrate.quad(over_x, 0, scale, epsabs=0, epsrel=1e-10)[0] / math.sqrt(1 + 2 * t)

    check_log_z("parabola", [z(t) for t in T])


def test_quartic_against_polar_coordinates():
    """K = r⁴ g(θ) with r²/2 exponential: ∫ exp(-u - cu²) du is an error function."""
    theta = 2 * np.pi * np.arange(400) / 400
    c, s = np.cos(theta) ** 2, np.sin(theta) ** 2
    root = np.sqrt(4 * T[:, None] * (c**2 + c * s + s**2))
    check_log_z("x4-x2y2-y4", (np.sqrt(np.pi) / (2 * root) * special.erfcx(1 / (2 * root))).mean(1))


def test_sum_of_powers_against_its_parts():
    def power(p, t):
        return (
            2
            * integrate.quad(lambda x: gaussian(x) * math.exp(-t * x**p), 0, min(8, 4 * t ** (-1 / p)), epsrel=1e-11)[0]
        )

    check_log_z("x4-y6", [power(4, t) * power(6, t) for t in T])
    check_log_z("sum-w2-w4", [power(2, t) * power(4, t) for t in T])
    check_log_z("sum-w2-w24", [power(2, t) * power(24, t) for t in T])


def test_hyperbola_against_one_dimensional_quadrature():
    """K = (ab - 1)² at (1, 1): a is Gaussian given b; the rest is smooth in b but for a spike at zero."""

    def z(t):
        def over_b(b):
            growth = 1 + 2 * t * b * b
            return gaussian(b - 1) * math.exp(-t * (b - 1) ** 2 / growth) / math.sqrt(growth)

        edges = [0, *np.logspace(-9, 1, 21)]
        pieces = [(sign * a, sign * b) for sign in (1, -1) for a, b in pairwise(edges)]
        return sum(abs(integrate.quad(over_b, *piece, epsabs=0, epsrel=1e-10)[0]) for piece in pieces)

    log_z = product_minus_truth([1.0, 1.0])(T, 1.0)[0]
    np.testing.assert_allclose(log_z, np.log([z(t) for t in T]), rtol=1e-6)


def test_tanh_unit_against_one_dimensional_quadrature():
    def z(t):
        def over_b(b):
            mean_square = 1 - math.tanh(b) / b  # E tanh(bx)² over x in [-1, 1]
            if b < 1e-2:
                mean_square = b * b / 3 - 2 * b**4 / 15
            return gaussian(b) / math.sqrt(1 + t * mean_square)

        edges = [1e-12, *np.logspace(-9, 1, 21)]
        return 2 * sum(integrate.quad(over_b, a, b, epsabs=0)[0] for a, b in pairwise(edges))

    check_log_z("tanh-1", [z(t) for t in T])


PLANE = [m for m in WITH_ORACLE if m.dimension == 2 and m.group in ("polynomial", "polynomial-network")]


@pytest.mark.parametrize("model", PLANE, ids=ids(PLANE))
def test_plane_models_against_a_dense_grid(model):
    axis = torch.linspace(-8, 8, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    k, prior = model.potential(grid).numpy(), np.exp(-0.5 * grid.square().sum(1).numpy())
    t = np.array([0.5, 5.0])
    log_z, mean = model.oracle(t, 1.0)
    for i, value in enumerate(t):
        weight = prior * np.exp(-value * k)
        assert log_z[i] == pytest.approx(math.log(weight.sum() / prior.sum()), abs=2e-5)
        assert mean[i] == pytest.approx((weight * value * k).sum() / weight.sum(), rel=2e-5)


def test_cusp_against_nested_adaptive_quadrature():
    """Outside in: y, then x with its ridge at x² = -y³ as a break point."""
    t = 1e4

    def over_x(y):
        ridge = [math.sqrt(-(y**3))] if y < 0 else []
        near = [max(ridge[0] - 0.05, 0.0), *ridge, ridge[0] + 0.05] if ridge else [0.3]
        return integrate.quad(
            lambda x: math.exp(-t * (x * x + y**3) ** 2 - x * x / 2), 0, 8, points=near, limit=400, epsabs=1e-12
        )[0]

    total = integrate.quad(
        lambda y: over_x(y) * math.exp(-y * y / 2), -6, 6, points=[-0.5, -0.1, 0, 0.1, 0.5], limit=400, epsrel=1e-7
    )[0]
    assert zoo.get("cusp-squared").free_energy(t) == pytest.approx(-math.log(2 * total / (2 * math.pi)), rel=1e-5)


@pytest.mark.parametrize("model", QUICK, ids=ids(QUICK))
def test_mean_potential_is_the_slope_of_the_free_energy(model):
    t = np.array([1.0, 1e2, 1e5, 1e8, 1e10])
    h = 1e-3
    log_z, mean = model.oracle(np.concatenate([t * math.exp(h), t * math.exp(-h), t]), 1.0)
    np.testing.assert_allclose((log_z[5:10] - log_z[:5]) / (2 * h), mean[10:], rtol=1e-5, atol=1e-7)


GLOBAL = [m for m in QUICK if m.rlct.multiplicity == 1 and m.name != "machine-zero-generic"]


@pytest.mark.parametrize("model", GLOBAL, ids=ids(GLOBAL))
def test_oracles_tend_to_the_learning_coefficient(model):
    """With m = 1 what is left at t is a power of t: small at 1e14, and less than at 1e10."""
    gap = np.abs(model.mean_potential(np.array([1e10, 1e14])) - float(model.rlct.learning_coefficient))
    assert gap[1] < 0.03 * float(model.rlct.learning_coefficient)
    assert gap[1] <= gap[0] + 1e-8


MULTIPLE = [m for m in QUICK if m.rlct.multiplicity > 1]


@pytest.mark.parametrize("model", MULTIPLE, ids=ids(MULTIPLE))
def test_oracles_show_the_multiplicity(model):
    """E[tK] = λ - (m-1)/(log t + c) + ...: the reciprocal of the gap grows over log t with slope 1/(m-1).

    In a sum each part has its own c and the slope is approached slowly: 10% is what log t = 100 to 120 gives.
    """
    log_t = np.array([100.0, 120.0])
    gap = float(model.rlct.learning_coefficient) - model.mean_potential(np.exp(log_t))
    slope = np.diff(1 / gap)[0] / np.diff(log_t)[0]
    assert slope * (model.rlct.multiplicity - 1) == pytest.approx(1.0, rel=0.1)


def test_oracles_refuse_in_one_line():
    with pytest.raises(InputError, match="no finite-t oracle"):
        zoo.get("superposition-5-gon").mean_potential(10.0)
    with pytest.raises(InputError, match="t must be positive and finite"):
        zoo.get("w4").mean_potential(0.0)
    with pytest.raises(InputError, match="t must be positive and finite"):
        zoo.get("w4").free_energy(np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="gamma must be positive"):
        zoo.get("w4").free_energy(1.0, gamma=0.0)


def test_oracles_take_numbers_and_arrays():
    model = zoo.get("w4")
    assert isinstance(model.mean_potential(3.0), float)
    values = model.free_energy(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert values.shape == (2, 2)
    assert values[1, 0] == pytest.approx(model.free_energy(3.0), rel=1e-12)
