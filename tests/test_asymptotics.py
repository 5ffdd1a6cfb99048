"""(λ, m) from curves that are known: exact tails with noise of known size."""

from functools import cache

import numpy as np
import pytest

from slt import zoo
from slt.rlct import asymptotics
from slt.rlct.asymptotics import fit_asymptotics, half_height, height, youth

GROUPS = 8


def noisy(curve: np.ndarray, error: float, seed: int, correlation: float = 0.0) -> np.ndarray:
    """Groups (G, S) whose mean has standard error `error`, neighbours correlated as in a Markov chain."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((GROUPS, len(curve)))
    for i in range(1, len(curve)):
        noise[:, i] = correlation * noise[:, i - 1] + np.sqrt(1 - correlation**2) * noise[:, i]
    return curve + error * np.sqrt(GROUPS) * noise


def grid(start: float, length: float, points: int = 30) -> np.ndarray:
    return np.linspace(start, start + length, points)


@cache
def exact_curve(name: str, start: float, length: float) -> np.ndarray:
    return zoo.get(name).mean_potential(np.exp(grid(start, length)), 25.0)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
@pytest.mark.parametrize(
    ("name", "start", "length"),
    [
        ("quadratic-10", 0.0, 45.0),
        ("sum-w2-w4", 2.0, 50.0),
        ("crossing-2-2", 5.0, 55.0),
        ("crossing-4-4", 9.0, 110.0),
        ("norms-3-3", 3.0, 45.0),
        ("x4y2-x2y4", 6.0, 80.0),
    ],
)
def test_quadrature_curves_give_their_answer(name, start, length, correlation):
    """E[tK] by quadrature with noise of a thousandth: λ to 1%, m exactly, in each of five seeds."""
    model = zoo.get(name)
    log_t, curve = grid(start, length), exact_curve(name, start, length)
    exact = float(model.rlct.learning_coefficient)
    for seed in range(5):
        fit = fit_asymptotics(log_t, noisy(curve, 1e-3 * exact, seed, correlation), model.dimension)
        assert fit.best == model.rlct.multiplicity
        assert fit.given(fit.best)[0] == pytest.approx(exact, rel=0.01)


def test_the_interval_covers():
    """95% intervals of λ hold the truth in at least 36 of 40 noisy curves of K = w1⁴ + w2²: P(fewer) < 0.02."""
    model = zoo.get("sum-w2-w4")
    log_t = grid(2.0, 50.0)
    curve = model.mean_potential(np.exp(log_t), 25.0)
    held = 0
    for seed in range(40):
        fit = fit_asymptotics(log_t, noisy(curve, 2e-3, seed), 2)
        held += fit.quantile(0.025) < 0.75 < fit.quantile(0.975)
    assert held >= 36


@pytest.mark.parametrize("name", ["quadratic-1", "quadratic-10", "quadratic-10-ill"])
def test_a_regular_curve_is_never_called_singular(name):
    """m > 1 with probability below 0.05, at ten times the noise that annealing leaves of a quadratic and at less."""
    model = zoo.get(name)
    log_t = grid(1.0, 48.0)
    curve = model.mean_potential(np.exp(log_t), 25.0)
    for seed in range(20):
        fit = fit_asymptotics(log_t, noisy(curve, 10.0 ** -(3 + seed % 3), seed), model.dimension)
        assert 1 - fit.probabilities[1] < 0.05


def test_noise_too_large_for_m_leaves_it_open():
    model = zoo.get("crossing-2-2")
    log_t = grid(5.0, 20.0)
    curve = model.mean_potential(np.exp(log_t), 25.0)
    fit = fit_asymptotics(log_t, noisy(curve, 0.03, 0), 2)
    assert max(fit.probabilities.values()) < 0.95
    low, high = fit.quantile(0.025), fit.quantile(0.975)
    assert low < 0.5 < high
    assert high - low > 0.03


def test_the_posterior_is_a_distribution():
    model = zoo.get("crossing-2-2")
    log_t = grid(5.0, 55.0)
    fit = fit_asymptotics(log_t, noisy(model.mean_potential(np.exp(log_t), 25.0), 1e-2, 0), 2)
    assert sum(fit.probabilities.values()) == pytest.approx(1.0, abs=1e-4)
    assert fit.quantile(0.025) < fit.quantile(0.5) < fit.quantile(0.975)
    mean, deviation = fit.overall()
    assert abs(fit.quantile(0.5) - mean) < deviation
    parts = [(p, *fit.given(m)) for m, p in fit.probabilities.items()]
    assert sum(p * value for p, value, _ in parts) == pytest.approx(mean, rel=1e-4)
    assert np.isnan(fit.given(7)[0])


def test_units_do_not_matter():
    """The unit of K moves log t: the answer stays."""
    model = zoo.get("crossing-2-2")
    log_t = grid(5.0, 55.0)
    groups = noisy(model.mean_potential(np.exp(log_t), 25.0), 1e-3, 0)
    a, b = fit_asymptotics(log_t, groups, 2), fit_asymptotics(log_t + 200.0, groups, 2)
    assert a.overall() == pytest.approx(b.overall(), rel=1e-9)
    assert b.half - a.half == pytest.approx(200.0)


def test_m_is_at_most_the_dimension():
    model = zoo.get("crossing-2-2-2")
    log_t = grid(8.0, 60.0)
    groups = noisy(model.mean_potential(np.exp(log_t), 25.0), 1e-3, 0)
    assert max(fit_asymptotics(log_t, groups, 2).probabilities) == 2
    assert fit_asymptotics(log_t, groups, 3).best == 3


def test_what_all_groups_are_off_by_is_no_logarithm():
    """The ten-dimensional quadratic whose K is 1e-16 too large everywhere: an error that the groups do not show."""
    model, log_t = zoo.get("quadratic-10"), np.arange(0.0, 33.5, 1.5)
    shift = 1e-16 * np.exp(log_t)
    groups = noisy(model.mean_potential(np.exp(log_t), 25.0) + shift, 1e-4, 0)
    assert fit_asymptotics(log_t, groups, 10).best > 1
    fit = fit_asymptotics(log_t, groups, 10, shift)
    assert fit.probabilities[1] > 0.95
    assert fit.given(1)[0] == pytest.approx(5.0, rel=1e-3)


def test_a_curve_that_creeps_on_after_a_halt_is_young_and_a_logarithm_is_not():
    def known(name: str, end: float) -> float:
        log_t = np.arange(0.0, end, 1.5)
        return youth(log_t, noisy(zoo.get(name).mean_potential(np.exp(log_t), 25.0), 1e-4, 0))

    assert known("sum-w2-w24", 51.0) > 45  # to the very end
    assert 50 < known("sum-w2-w24", 96.0) < 65
    for name in ("quadratic-1", "w4", "crossing-2-2", "norms-3-3"):
        assert known(name, 60.0) < 12


def test_half_height():
    log_t = np.arange(11.0)
    curve = np.clip(log_t / 4, 0, 1)
    assert height(curve) == 1.0
    assert half_height(log_t, curve) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="too few"):
        fit_asymptotics(log_t[:7], np.zeros((2, 7)), 1)


def test_m_is_sharp_where_lambda_is_known():
    """The curve of the 15-parameter machine at zero, 5/2 and 11: m is open by itself and settled by λ."""
    model, log_t = zoo.get("machine-zero"), np.arange(4.0, 56.0, 1.3)
    curve = model.mean_potential(np.exp(log_t), 25.0)
    groups = curve + 0.005 * np.random.default_rng(0).standard_normal((8, len(log_t)))
    fit = fit_asymptotics(log_t, groups, 15)
    assert fit.probabilities[fit.best] < 0.9
    given = fit.probabilities_given(2.5)
    assert sum(given.values()) == pytest.approx(1.0, abs=1e-4)
    assert max(given, key=given.__getitem__) == 11
    assert given[11] > 0.6
    assert fit.probabilities_given(1.0) == {}


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_correlation_of_neighbours(correlation):
    """Of 8 groups, whose mean is taken out, at 400 points: the error of a lag-one correlation is about 1/√2800."""
    groups = noisy(np.linspace(0.5, 1.0, 400), 0.01, 0, correlation)
    assert asymptotics.correlation(groups) == pytest.approx(correlation, abs=4 / np.sqrt(7 * 400))


def test_correlation_of_groups_that_agree_is_zero():
    assert asymptotics.correlation(np.ones((GROUPS, 10))) == 0.0


def test_what_the_form_neglects_is_an_error_too():
    """x²⁴ + y²: the poles beyond the next one leave λ too high by 2e-4 of it, however many points there are."""
    model, log_t = zoo.get("sum-w2-w24"), np.arange(0.0, 90.0, 0.75)
    exact = float(model.rlct.learning_coefficient)
    fit = fit_asymptotics(log_t, noisy(model.mean_potential(np.exp(log_t), 25.0), 1e-5, 0), 2)
    mean, deviation = fit.given(1)
    assert fit.best == 1
    assert 1e-4 < mean / exact - 1 < 4e-4
    assert mean - exact < 2 * deviation
    assert deviation < 3e-4 * exact
