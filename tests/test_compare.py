"""Comparing solutions: odds, shares and flips of free energies that are known in closed form; what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import slt
from slt.free_energies.compare import compare_phases, free_energy_at
from slt.free_energies.estimate import FreeEnergyEstimate, Terms
from slt.free_energies.temperature_curve import Curve


def phase(h: list[float], center_loss: float, n: int = 1000, gamma: float = 1.0, error: float = 0.01, **changes):
    """A quadratic L = L* + ½ Σ h w²: F(t) = ½ Σ log(1 + t h/γ), as if measured with that error on 25 rungs."""
    beta = np.geomspace(1e-4, 1.0, 25)
    growth = n * beta[:, None] * np.array(h) / gamma
    value, llc = 0.5 * np.log1p(growth).sum(1), 0.5 * (growth / (1 + growth)).sum(1)
    curve = Curve(beta, value, np.full(25, error), llc, np.full(25, error), llc)
    asymptotic = len(h) / 2
    log_n = math.log(n)
    terms = Terms(n * center_loss, asymptotic * log_n, 0.0, value[-1] - asymptotic * log_n, asymptotic, 1, "theory")
    parts = {
        "free_energy": float(value[-1]), "std_error": error, "interval": (0.0, 0.0), "rhat": 1.0, "ess": 1000.0,
        "status": "ok", "reasons": [], "n": n, "beta": 1.0, "gamma": gamma, "methods": {}, "llc": float(llc[-1]),
        "llc_error": error, "wbic": None, "wbic_error": None, "wbic_beta": None, "wbic_llc": None, "plateau": None,
        "regression": None, "terms": terms, "curve": curve, "rungs": 26, "chains": 8, "warmup": 0, "draws": 100,
        "rejection": 0.4, "round_trips": 10, "sampler": "hmc", "seed": 0, "seconds": 1.0, "checkpoint": None,
        "dimension": 10, "center_loss": center_loss, "evaluation": "analytic", "dtype": "float64", "gradients": 1,
    }  # fmt: skip
    return FreeEnergyEstimate(**{**parts, **changes})


SIMPLE, COMPLEX = [4.0] * 4, [9.0] * 9


def exact_difference(n: np.ndarray, gap: float) -> np.ndarray:
    """G of the complex solution less that of the simple one, whose loss is higher by `gap`."""
    return 4.5 * np.log1p(9 * n) - 2 * np.log1p(4 * n) - n * gap


def exact_flip(gap: float) -> float:
    low, high = 20.0, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if exact_difference(np.array(middle), gap) > 0 else (low, middle)
    return low


def test_free_energies_at_other_n_follow_the_closed_form_on_the_ladder_and_beyond_it():
    estimate = phase(SIMPLE, 0.3)
    n = np.geomspace(0.05, 1e5, 60)
    value, error = free_energy_at(estimate, n)
    exact = 0.3 * n + 2 * np.log1p(4 * n)
    on_ladder = (n >= 0.1) & (n <= 1000)
    np.testing.assert_allclose(value[on_ladder], exact[on_ladder], atol=2e-3)
    np.testing.assert_allclose(value[n < 0.1], exact[n < 0.1], atol=0.02)
    np.testing.assert_allclose(value[n > 1000], exact[n > 1000], atol=2e-3)
    assert (error[on_ladder] == 0.01).all()
    assert error[-1] > 0.04  # an extrapolation over 4.6 e-folds


@pytest.mark.parametrize("gap", [0.1, 0.02])  # a flip on the ladders, and one beyond them
def test_the_preference_flips_where_the_closed_forms_meet(gap):
    simple, complicated = phase(SIMPLE, gap), phase(COMPLEX, 0.0)
    compared = compare_phases([complicated, simple], ["complex", "simple"])
    difference = float(exact_difference(np.array(1000.0), gap))
    assert compared.preferred == ("simple" if difference > 0 else "complex")
    pair = compared.pairs[0]
    assert abs(pair.difference - abs(difference)) < 1e-9
    assert abs(pair.std_error - 0.01 * math.sqrt(2)) < 1e-12
    flip = min(pair.flips, key=lambda f: abs(f.n - exact_flip(gap)))
    assert abs(flip.n - exact_flip(gap)) < max(3 * flip.std_error, 0.005 * flip.n)
    assert (flip.preferred_below, flip.preferred_above) == ("simple", "complex")
    assert flip.measured == (exact_flip(gap) < 1000)
    assert abs(pair.formula_flip - exact_flip(gap)) < 0.02 * exact_flip(gap)
    assert pair.without_constant != pytest.approx(pair.formula_flip, rel=0.1)
    assert sum(pair.terms.values()) == pytest.approx(pair.difference)


def test_the_published_crossing_of_the_toy_model_of_superposition_and_what_its_constant_does():
    def polygon(llc: float, loss: float, constant: float) -> FreeEnergyEstimate:
        terms = Terms(600 * loss, llc * math.log(600), 0.0, constant, llc, 1, "theory")
        return phase([1.0], loss, n=600, terms=terms)

    pair = compare_phases([polygon(7.0, 0.0687436, 0.0), polygon(8.5, 0.0481924, 2.7535)], ["5", "6"]).pairs[0]
    assert abs(pair.formula_flip - 601) < 1
    assert abs(pair.without_constant - 445) < 1


def test_shares_are_those_of_the_posterior_and_their_errors_follow():
    estimates = [phase(SIMPLE, loss, error=e) for loss, e in ((0.0, 0.1), (0.001, 0.2), (0.0, 0.1))]
    compared = compare_phases(estimates, ["a", "b", "c"])
    weight = math.exp(-1)
    assert compared.labels[-1] == "b"
    assert compared.shares == pytest.approx([1 / (2 + weight), 1 / (2 + weight), weight / (2 + weight)])
    share = compared.shares[2]
    exact = share * math.hypot((1 - share) * 0.2, compared.shares[0] * 0.1, compared.shares[1] * 0.1)
    assert compared.share_errors[2] == pytest.approx(exact)
    assert len(compared.pairs) == 3
    assert compared.pairs[0].difference == 0
    assert json.loads(compared.to_json())["shares"] == pytest.approx(compared.shares)
    for words in ("preferred at n = 1000", "log odds", "share"):
        assert words in str(compared)


def test_what_does_not_compare_is_refused():
    base = phase(SIMPLE, 0.0)
    for changes, words in (({"n": 500}, "n = 500"), ({"beta": 0.5}, "beta = 0.5"), ({"gamma": 2.0}, "gamma = 2")):
        with pytest.raises(slt.InputError, match=words):
            compare_phases([base, replace(base, **changes)], ["a", "b"])
    with pytest.raises(slt.InputError, match="b: its free energy is not usable: lost"):
        compare_phases([base, replace(base, status="failed", reasons=["lost"])], ["a", "b"])
    with pytest.raises(slt.InputError, match="at least two"):
        compare_phases([base])
    with pytest.raises(slt.InputError, match="different labels"):
        compare_phases([base, base], ["a", "a"])


@pytest.mark.parametrize("solutions", [[1.0, 2.0], phase(SIMPLE, 0.1), None, [phase(SIMPLE, 0.1), "b.json"]])
def test_what_is_no_free_energy_is_one_line(solutions):
    with pytest.raises(slt.InputError, match=r"a list of results of slt\.free_energy"):
        compare_phases(solutions)


@pytest.mark.parametrize("text", ["123", "null", '"x"', "[]"])
def test_a_file_of_something_else_is_one_line(text, tmp_path):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(slt.InputError, match="holds no free energy"):
        FreeEnergyEstimate.load(file)


def test_a_slope_that_is_not_that_of_the_asymptotic_form_is_uncertain_beyond_the_ladder():
    settled = phase(COMPLEX, 0.0)
    moving = replace(settled, terms=replace(settled.terms, llc=settled.terms.llc - 1))
    (value, error), (same, wider) = (free_energy_at(e, np.array([5000.0])) for e in (settled, moving))
    assert value == same
    assert wider == pytest.approx(math.log(5) * 1.0, rel=0.1)
    assert error < 0.05


def test_odds_beyond_floating_point_are_powers_of_ten():
    assert "odds 10^1303 (95%: 10^1303 to 10^1303)" in str(compare_phases([phase(SIMPLE, 0.0), phase(SIMPLE, 3.0)]))


def test_other_data_and_broken_numbers_do_not_compare():
    base = phase(SIMPLE, 0.0, data="one")
    with pytest.raises(slt.InputError, match="b was made on other data than a"):
        compare_phases([base, replace(base, data="two")], ["a", "b"])
    with pytest.raises(slt.InputError, match="b: its free energy is not a finite number"):
        compare_phases([base, replace(base, center_loss=math.nan)], ["a", "b"])


def test_no_flip_is_not_claimed_where_the_preference_is_open():
    same = str(compare_phases([phase(SIMPLE, 0.0, error=0.1), phase(SIMPLE, 1e-5, error=0.1)]))
    assert "no flip" not in same
    assert "a flip near this n is not excluded" in same


def test_what_stands_against_a_solution_is_passed_on():
    base = phase(SIMPLE, 0.0)
    doubtful = replace(phase(COMPLEX, 0.0), status="warning", reasons=["too few effective draws"], dimension=12)
    compared = compare_phases([base, doubtful], ["a", "b"])
    assert any("b: too few effective draws" in reason for reason in compared.reasons)
    assert any("different numbers of weights" in reason for reason in compared.reasons)
