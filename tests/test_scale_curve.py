"""λ̂(β) and λ̂(γ) around an estimate: closed forms, plateaus, the ladder, and comparisons across scales."""

import dataclasses
import json
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import slt
from slt.linearized import Linearized, quadratic_llc
from slt.llc.estimation import estimate_potential
from slt.llc.sensitivity import Slope
from slt.scale.comparison import ScaleWarning, compare_scales, scale_mismatch
from slt.scale.curve import ScalePoint, scale_curves
from slt.scale.ladder import climb, sample_scales, sampled_scales

CURVATURE = torch.tensor([3.0, 1.0, 0.05, 0.01], dtype=torch.float64)
N, GAMMA = 1000, 5.0


def quadratic_run(curvature=CURVATURE, **settings):
    center = torch.zeros(len(curvature), dtype=torch.float64)
    knobs = {"gamma": GAMMA, "chains": 16, "draws": 800, **settings}
    return estimate_potential(lambda w: 0.5 * (curvature * w.square()).sum(-1), center, N, **knobs)


def z_scores(curve, curvature, estimate):
    """(λ̂ - exact)/error of every point of a curve, for a quadratic loss."""
    for point in curve.points:
        factor = {curve.knob: point.factor}
        n_beta = estimate.n * estimate.beta * factor.get("beta", 1.0)
        exact = quadratic_llc(curvature, n_beta, estimate.gamma * factor.get("gamma", 1.0))
        yield (point.llc - exact) / point.std_error


@pytest.fixture(scope="module")
def run():
    return quadratic_run()


@pytest.fixture(scope="module")
def flat_run():
    """γ so small that no direction feels it."""
    return quadratic_run(gamma=0.002, draws=600)


def test_curves_of_a_quadratic(run):
    curves = scale_curves(run)
    assert list(curves) == ["gamma", "beta"]
    for curve in curves.values():
        assert [point.source for point in curve.points].count("run") == 1
        assert len(curve.points) >= 5
        assert max(abs(z) for z in z_scores(curve, CURVATURE, run)) < 4
        assert curve.verdict == "no plateau"
        assert curve.plateau is None
        factors = [point.factor for point in curve.points]
        assert factors == sorted(factors)
        assert curve.missing((2**-0.5, 2**0.5, 100.0)) == [100.0]


def test_curves_of_a_linearized_network(linearized_tanh):
    model, data, curvature = linearized_tanh
    estimate = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), gamma=20.0, chains=8, draws=1600)
    for curve in scale_curves(estimate).values():
        assert len(curve.points) > 2
        assert max(abs(z) for z in z_scores(curve, curvature, estimate)) < 4


def test_weights_of_infinite_variance_are_not_believed():
    """x = nβ(L - L*) falls off as e^-x: below β/2 the square of the weights e^(x (1 - β'/β)) has no mean, and their
    averages come out too low with errors that are too small, though the effective share looks well."""
    run = quadratic_run(CURVATURE[:2], gamma=0.01, chains=16, draws=600)
    curve = scale_curves(run)["beta"]
    assert curve.reach[0] > 0.5
    assert curve.reach[1] > 4
    assert max(abs(z) for z in z_scores(curve, CURVATURE[:2], run)) < 4


def test_a_plateau_is_found_and_marked(flat_run):
    curves = scale_curves(flat_run)
    for curve in curves.values():
        assert curve.verdict == "plateau", str(curve)
        low, high = curve.plateau
        assert low <= curve.chosen / 2**0.5 * 1.001
        assert high >= curve.chosen * 2**0.5 * 0.999
        assert "a plateau: llc stays within 10%" in str(curve)
        assert max(abs(z) for z in z_scores(curve, CURVATURE, flat_run)) < 4


def test_out_of_reach_is_not_called_a_plateau():
    """200 directions that the loss does not see: γ cannot be reweighted far, whatever the slope."""
    curvature = torch.cat([torch.full((20,), 100.0), torch.zeros(200)]).double()
    curve = scale_curves(quadratic_run(curvature, gamma=0.1, chains=8, draws=400))["gamma"]
    assert 0.5 < curve.reach[0] <= 1 <= curve.reach[1] < 2
    assert curve.missing((0.5, 2.0)) == [0.5, 2.0]
    assert curve.verdict == "unknown"
    assert "not known whether this is a plateau" in str(curve)
    assert "flat to first order" in str(dataclasses.replace(curve, slope=Slope(0.01, 0.02)))
    assert "flat to first order" not in str(dataclasses.replace(curve, slope=Slope(0.01, 0.2)))


def test_minibatches_are_not_reweighted_in_beta(quadratic):
    model, data, curvature = quadratic
    knobs = {"sampler": "sgld-cv", "batch_size": 20, "gamma": 10.0, "draws": 1000}
    estimate = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), **knobs)
    curves = scale_curves(estimate)
    assert [point.source for point in curves["beta"].points] == ["run"]
    assert curves["beta"].slope is None
    assert curves["beta"].verdict == "unknown"
    assert len(curves["gamma"].points) > 3
    assert max(abs(z) for z in z_scores(curves["gamma"], curvature, estimate)) < 4


def test_no_draws_no_curves(run):
    nothing = dataclasses.replace(run.trace, loss=np.full_like(run.trace.loss, np.nan))
    with pytest.raises(slt.InputError, match="no draws that could show"):
        scale_curves(dataclasses.replace(run, trace=nothing))


def test_a_ladder_adds_the_points_out_of_reach(run, tmp_path):
    calls = []

    def at(**settings):
        calls.append(settings)
        return quadratic_run(**settings)

    climbed = climb(run, at, factors=(1 / 20, 1.0, 2.0, 20.0), draws=200)
    wanted = {("gamma", 1 / 20), ("gamma", 20.0), ("beta", 1 / 20), ("beta", 20.0)}
    points = sampled_scales(climbed)
    assert {(knob, point.factor) for knob, point in points} == wanted
    assert len({call["seed"] for call in calls} | {run.seed}) == 5
    curves = scale_curves(climbed, points)
    for curve in curves.values():
        assert [point.source for point in curve.points].count("sampled") == 2
        assert max(abs(z) for z in z_scores(curve, CURVATURE, run)) < 4
    climbed.save(tmp_path / "run.nc")
    read = slt.Estimate.load(tmp_path / "run.nc")
    assert scale_curves(read, sampled_scales(read)) == curves
    climb(read, at, factors=(1 / 20, 20.0))  # nothing is missing any more
    assert len(calls) == 4


def test_a_failed_rung_is_kept_with_its_reason(run):
    def at(**settings):
        return dataclasses.replace(run, llc=-1.0, status="failed", reasons=["w* is no minimum there"])

    climbed = climb(run, at, factors=(2.0**-8,))
    for knob, point in sampled_scales(climbed):
        assert (point.status, point.reasons) == ("failed", ("w* is no minimum there",))
        assert math.isnan(point.change.value)
        assert scale_curves(climbed, sampled_scales(climbed))[knob].verdict == "no plateau"


def test_a_ladder_of_a_network(linearized_tanh):
    model, data, curvature = linearized_tanh
    loss = slt.gaussian_loss(1.0)
    estimate = slt.estimate_llc(model, data, loss, gamma=20.0, chains=8, draws=400)
    climbed = sample_scales(estimate, model, data, loss, factors=(30.0,), draws=400)
    curves = scale_curves(climbed, sampled_scales(climbed))
    for curve in curves.values():
        assert max(abs(z) for z in z_scores(curve, curvature, estimate)) < 4
    other = Linearized(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double())
    with pytest.raises(slt.InputError, match=r"L\(w\*\) = .* give those of the run"):
        sample_scales(estimate, other, data, loss, factors=(30.0,), draws=8)
    with pytest.raises(slt.InputError, match="n = 400"):
        sample_scales(estimate, model, (data[0][:300], data[1][:300]), loss, factors=(30.0,), draws=8)
    with pytest.raises(slt.InputError, match="factors of a ladder must be positive"):
        sample_scales(estimate, model, data, loss, factors=(-1.0,))


def test_sampled_points_decide_a_plateau(flat_run):
    """A point that falls off within a factor 2, beyond its error, is the end of a plateau."""
    fallen = ScalePoint(2.0, 1.0, 0.01, Slope(-0.7, 0.01), "sampled", math.nan)
    curve = scale_curves(flat_run, [("gamma", fallen)])["gamma"]
    assert curve.verdict == "no plateau"
    vague = dataclasses.replace(fallen, change=Slope(-0.7, 0.6))  # says nothing: the plateau ends before it
    curve = scale_curves(flat_run, [("gamma", vague)])["gamma"]
    assert curve.verdict == "plateau"
    assert curve.plateau[1] == pytest.approx(curve.chosen * 2**0.5)
    cliff = dataclasses.replace(vague, factor=2**0.25)
    assert scale_curves(flat_run, [("gamma", cliff)])["gamma"].verdict == "unknown"


def test_estimates_at_one_scale_compare(run):
    again = dataclasses.replace(run, llc=run.llc + 5 * run.std_error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare_scales([run, again], ["a", "b"])
    (difference,) = found.differences
    assert difference.mismatch == ()
    assert difference.z == pytest.approx(5 / 2**0.5)
    assert "a difference" in str(found)
    assert scale_mismatch(run, again) == ()


def test_estimates_at_different_scales_warn(run):
    other = quadratic_run(gamma=GAMMA * 1.5, seed=1)
    with pytest.warns(ScaleWarning, match="made at different scales.*--gamma 5"):
        found = compare_scales([run, other])
    (difference,) = found.differences
    assert difference.mismatch == ("gamma is 5 and 7.5",)
    assert "NOT COMPARABLE" in str(found)
    value, error = difference.at_scale_of_first  # the same potential: at one scale there is no difference
    assert abs(value) < 4 * error
    assert abs(difference.z) > abs(value) / error
    assert json.loads(found.to_json())["differences"][0]["mismatch"] == ["gamma is 5 and 7.5"]
    for line in str(found).splitlines():
        assert "llc = " not in line or "gamma = " in line


def test_estimates_with_different_remedies_do_not_compare(run):
    other = dataclasses.replace(run, remedy="gradient-normal")
    with pytest.warns(ScaleWarning, match="different remedies"):
        (difference,) = compare_scales([run, other]).differences
    assert difference.mismatch == ("the remedy is none and gradient-normal",)
    assert difference.at_scale_of_first is None


def test_a_scale_out_of_reach_is_not_reweighted_to(run):
    far = quadratic_run(gamma=GAMMA * 1000, draws=100)
    with pytest.warns(ScaleWarning):
        assert compare_scales([run, far]).differences[0].at_scale_of_first is None


def test_bad_comparisons(run):
    failed = dataclasses.replace(run, status="failed", reasons=["nothing came out"])
    for estimates, labels, words in (
        ([run], None, "at least two"),
        ([run, run], ["a", "a"], "different labels"),
        ([run, failed], ["a", "b"], "b: its llc is not usable: nothing came out"),
    ):
        with pytest.raises(slt.InputError, match=words):
            compare_scales(estimates, labels)
