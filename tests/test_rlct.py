"""`estimate_rlct`: right on potentials whose answer is known, and honest where it cannot know."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import slt
from samplers.errors import InputError
from slt import zoo
from slt.rlct import annealed_ladder
from slt.rlct.annealed_ladder import Climb, climb
from slt.rlct.asymptotics import fit_asymptotics
from slt.rlct.estimation import estimate_rlct
from slt.rlct.verdict import fit_reasons, ladder_reasons

QUICK = {"particles": 1024, "volume": False}


def close(estimate, model) -> bool:
    exact = float(model.rlct.learning_coefficient)
    return abs(estimate.learning_coefficient - exact) <= max(0.02 * exact, 0.01)


@pytest.mark.parametrize(
    ("name", "particles"), [("quadratic-1", 512), ("crossing-2-2", 2048), ("sum-w2-w4", 512), ("line-squared", 512)]
)
def test_lambda_and_m_of_small_potentials(name, particles):
    model = zoo.get(name)
    estimate = slt.estimate_rlct(model.potential, model.center, particles=particles, volume=False)
    assert close(estimate, model), estimate
    assert estimate.multiplicity == model.rlct.multiplicity
    assert estimate.status == "ok", estimate


def test_two_routes_and_the_whole_result():
    model = zoo.get("crossing-2-2")
    heard = []
    estimate = estimate_rlct(model.potential, model.center, particles=1024, progress=heard.append)
    assert estimate.volume is not None
    assert estimate.volume.learning_coefficient == pytest.approx(0.5, abs=0.03)
    assert "by volumes" in str(estimate)
    assert any("log volume" in line for line in heard)
    assert any("E[tK]" in line for line in heard)
    curve = estimate.curve
    error = np.maximum(curve.free_energy_error, 1e-4)
    z = (curve.free_energy - model.free_energy(np.exp(curve.log_t), estimate.gamma)) / error
    assert abs(z[-1]) < 5  # 7 degrees of freedom
    values = json.loads(estimate.to_json())
    assert values["multiplicity"] == 2
    assert values["multiplicity_probabilities"]["2"] > 0.5
    assert len(values["curve"]["log_t"]) == len(curve.log_t)
    assert values["interval"][0] < values["learning_coefficient"] < values["interval"][1]
    assert estimate.multiplicity_given(0.5)[2] > 0.9
    with pytest.raises(InputError, match="contradicts the estimate"):
        estimate.multiplicity_given(1.5)


def test_directions_without_potential_add_nothing():
    estimate = estimate_rlct(lambda w: 0.5 * w[..., 2].square(), torch.zeros(5), particles=256, volume=False)
    assert estimate.learning_coefficient == pytest.approx(0.5, abs=1e-3)
    assert estimate.multiplicity_probabilities[1] > 0.95


def test_a_flat_potential_has_no_learning_coefficient_to_speak_of():
    estimate = estimate_rlct(lambda w: 0.0 * w.sum(-1), torch.zeros(2), particles=256)
    assert (estimate.learning_coefficient, estimate.multiplicity, estimate.status) == (0.0, 1, "warning")
    assert estimate.reasons == ["K vanishes on a set of positive volume around the centre"]


def test_zero_on_a_set_of_positive_volume():
    estimate = estimate_rlct(lambda w: torch.relu(w[..., 0]).square(), torch.zeros(1), particles=256)
    assert (estimate.learning_coefficient, estimate.multiplicity) == (0.0, 1)
    assert "positive volume" in estimate.reasons[0]


def test_kinks_do_not_mislead():
    """K = |x| + |y|, λ = 2: its Hessian vanishes wherever it exists."""
    estimate = estimate_rlct(lambda w: w.abs().sum(-1), torch.zeros(2), particles=512, volume=False)
    assert estimate.learning_coefficient == pytest.approx(2.0, rel=0.02)
    assert estimate.multiplicity == 1


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    model = zoo.get("quadratic-1")
    knobs = {"particles": 256, "volume": False, "target_log_t": 20.0}
    a, b, c = (estimate_rlct(model.potential, model.center, seed=seed, **knobs) for seed in (3, 3, 4))
    assert np.array_equal(a.curve.free_energy, b.curve.free_energy)
    assert a.learning_coefficient == b.learning_coefficient
    assert not np.array_equal(a.curve.free_energy[:3], c.curve.free_energy[:3])


def test_too_short_a_ladder_is_no_estimate():
    estimate = estimate_rlct(lambda w: w.square().sum(-1), torch.zeros(1), target_log_t=2.0, **QUICK)
    assert estimate.status == "failed"
    assert np.isnan(estimate.learning_coefficient)
    assert json.loads(estimate.to_json())["learning_coefficient"] is None


def test_m_that_cannot_be_told_is_said_to_be_open():
    """(xyz)² with few particles and few decades: no m may be called settled."""
    model = zoo.get("crossing-2-2-2")
    estimate = estimate_rlct(model.potential, model.center, particles=256, target_log_t=35.0, volume=False)
    assert estimate.status == "warning"
    assert any("m is not settled" in reason for reason in estimate.reasons), estimate
    assert estimate.interval[1] - estimate.interval[0] > 0.02


def test_a_ladder_that_float64_ends_is_said_to_be_short():
    estimate = estimate_rlct(lambda w: (w[..., 0] - 1e9).square(), torch.tensor([1e9], dtype=torch.float64), **QUICK)
    assert estimate.status != "ok"
    assert any("float64" in reason or "too short" in reason for reason in estimate.reasons)


@pytest.mark.parametrize("offset", [0.7, 40.0])
def test_a_loss_that_is_not_zero_at_the_minimum_is_followed_as_far_as_its_digits_go(offset):
    """K = L(w) - L(0) with L(0) > 0 comes in steps, and vanishes on what is less than half of one. Points around 0 are
    as fine as ever, so that K seems to be flat there."""
    estimate = estimate_rlct(lambda w: (w.square().sum(-1) + offset) - offset, torch.zeros(4), **QUICK)
    assert estimate.status == "warning"
    assert any("float64 does not resolve K" in reason for reason in estimate.reasons)
    assert abs(estimate.learning_coefficient - 2.0) < 4 * estimate.std_error + 1e-3
    assert estimate.multiplicity == 1


def test_two_routes_that_disagree_are_reported(monkeypatch):
    import slt.rlct.estimation as module

    model = zoo.get("quadratic-1")
    original = module._volumes

    def tampered(*arguments):
        volumes = original(*arguments)
        return type(volumes)(**{**vars(volumes), "learning_coefficient": 0.7, "std_error": 0.001})

    monkeypatch.setattr(module, "_volumes", tampered)
    estimate = estimate_rlct(model.potential, model.center, particles=512)
    assert estimate.status == "warning"
    assert any("disagree" in reason for reason in estimate.reasons)


@pytest.mark.parametrize(
    ("potential", "center", "knobs", "says"),
    [
        (lambda w: w.square().sum(-1) + 1, torch.zeros(2), {}, "zero at the centre"),
        (lambda w: w.sum(-1), torch.zeros(2), {}, "must be >= 0"),
        (lambda w: w.square().sum(-1) - 2 * w.pow(4).sum(-1), torch.zeros(2), {}, "larger gamma"),
        (lambda w: w.square().sum(-1) / 0, torch.zeros(2), {}, "not finite|must be zero"),
        (lambda w: w.square().sum(), torch.zeros(2), {}, r"\(N, d\) to K \(N,\)"),
        (lambda w: w.square().sum(-1), torch.zeros(2, 1), {}, "center must be a vector"),
        (lambda w: w.square().sum(-1), torch.zeros(2), {"particles": 10}, "particles"),
        (lambda w: w.square().sum(-1), torch.zeros(2), {"gamma": -1.0}, "gamma"),
        (lambda w: w.square().sum(-1), torch.zeros(2), {"target_log_t": 1e4}, "target_log_t"),
        (lambda w: (w - 1e16).square().sum(-1), torch.full((1,), 1e16, dtype=torch.float64), {}, "float64"),
    ],
)
def test_bad_input_is_one_line(potential, center, knobs, says):
    with pytest.raises(InputError, match=says) as caught:
        estimate_rlct(potential, center, **knobs)
    assert "\n" not in str(caught.value)


def test_callers_of_every_kind_get_the_same():
    """Numbers of NumPy, a list as centre, and a program that has switched gradients off."""

    def potential(w):
        return w.square().sum(-1)

    knobs = {"particles": 512, "gamma": 25.0, "seed": 1, "volume": False, "target_log_t": 12.0}
    plain = estimate_rlct(potential, torch.zeros(2), **knobs)
    given = {**knobs, "particles": np.int64(512), "gamma": np.float32(25.0), "seed": np.int32(1)}
    with torch.inference_mode():
        switched_off = estimate_rlct(potential, torch.zeros(2), **knobs)
    for other in (estimate_rlct(potential, [0.0, 0.0], **given), switched_off):
        assert other.learning_coefficient == plain.learning_coefficient
        assert set(json.loads(other.to_json())) == set(json.loads(plain.to_json()))


SLOW = ["crossing-2-2-2", "crossing-4-4", "norms-3-3", "x6-x2y2-y6", "reduced-rank-2-2-2-r0", "reduced-rank-3-2-3-r0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_lambda_and_m_at_the_default_settings(name):
    model = zoo.get(name)
    estimate = estimate_rlct(model.potential, model.center)
    assert close(estimate, model), estimate
    assert estimate.multiplicity == model.rlct.multiplicity


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "power"), [(1, 2), (2, 2), (3, 2), (2, 3), (2, 4)])
def test_polynomial_networks(layers, power):
    model = zoo.get(f"polynomial-network-L{layers}-r{power}")
    estimate = estimate_rlct(model.potential, model.center)
    assert estimate.learning_coefficient == pytest.approx(float(model.rlct.learning_coefficient), rel=0.05)


def test_an_end_of_the_ladder_that_contradicts_the_rest_is_said():
    """The curve of λ = 3/2, m = 2 to log t = 70, as it is and with an end astray as lost particles make it."""
    log_t = np.arange(2.0, 70.6, 1.5)
    noise = 2e-4 * np.random.default_rng(0).standard_normal((8, len(log_t)))
    astray = np.interp(log_t, [61.6, 70.5], [0.0, 0.015])
    for bend in (np.zeros(len(log_t)), astray):
        curve = 1.5 - 1 / (log_t + 2.0) + bend + noise
        log_z = -np.concatenate([np.zeros((8, 1)), (0.75 * (curve[:, 1:] + curve[:, :-1])).cumsum(1)], 1)
        stages = [
            SimpleNamespace(log_t=t, mean=y, log_z=z, noise=0.0)
            for t, y, z in zip(log_t, curve.T, log_z.T, strict=True)
        ]
        fit = fit_asymptotics(log_t, curve, 6)
        said = " ".join(fit_reasons(Climb(stages, fit), fit, 6))
        assert ("the end of the ladder speaks for m" in said) == bool(bend.any())
        assert (fit.best == 2) == (not bend.any())


@pytest.mark.parametrize("name", ["sum-w2-w24", "sum-w2-crossing-6-8"])
def test_a_slow_power_beside_a_regular_direction_is_no_logarithm(name):
    """E[tK] halts at 1/2 and creeps on: with the ladder as long as the regular part needs, m was 2 or 3 and 'ok'."""
    model = zoo.get(name)
    estimate = estimate_rlct(model.potential, model.center, particles=2048, volume=False)
    assert estimate.multiplicity == model.rlct.multiplicity == 1
    assert close(estimate, model)
    assert estimate.curve.log_t[-1] > 70


def test_m_is_given_a_number():
    estimate = estimate_rlct(lambda w: w.square().sum(-1), torch.zeros(1), particles=512, volume=False)
    assert max(estimate.multiplicity_given(np.float64(0.5)).values()) > 0.9
    for wrong in ("half", None, float("nan")):
        with pytest.raises(InputError, match="λ must be a finite number"):
            estimate.multiplicity_given(wrong)


def test_a_target_that_is_not_reached_is_said():
    log_t = np.arange(0.0, 60.0, 1.5)
    curve = 0.5 * (1 - np.exp(-log_t)) + 1e-4 * np.random.default_rng(0).standard_normal((8, len(log_t)))
    stages = [SimpleNamespace(log_t=t, mean=y) for t, y in zip(log_t, curve.T, strict=True)]
    assert ladder_reasons(Climb(stages)) == ladder_reasons(Climb(stages), 300.0) == []
    (reason,) = ladder_reasons(Climb(stages, stopped="ancestors"), 300.0)
    assert "target_log_t = 300 was not reached" in reason


class Sluggish:
    """An `Annealing` of λ = 5/2, m = 11 on paper, whose groups keep 0.98 of their deviations from stage to stage."""

    def __init__(self, local, *, groups, size, seed, first_group=0):
        self.log_t, self._generator = 1.0, np.random.default_rng([seed, first_group])
        self._deviations = 0.01 * self._generator.standard_normal(groups)

    def advance(self, log_t=None, *, limit=650.0):
        self.log_t += 1.5
        self._deviations = 0.98 * self._deviations + 0.002 * self._generator.standard_normal(len(self._deviations))
        x = self.log_t + 4
        mean = 2.5 - 10 * x / (x**2 + 9 * 5) + self._deviations
        return SimpleNamespace(log_t=self.log_t, mean=mean, noise=0.0, rounding=0.0, ancestors=100.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_ladder_of_a_large_m_goes_on_though_groups_mix_slowly(seed, monkeypatch):
    monkeypatch.setattr(annealed_ladder, "Annealing", Sluggish)
    monkeypatch.setattr(annealed_ladder, "MAX_BATCHES", 1)
    found = climb(SimpleNamespace(dimension=15), 512, seed, None, None, lambda said: None)
    learning_coefficient, error = found.fit.overall()
    assert found.extended
    assert found.slopes[0][-1] > 60
    assert abs(learning_coefficient - 2.5) < 3 * error < 0.05


def test_a_target_short_of_the_tail_is_no_ok():
    h = torch.logspace(-6, 0, 4, dtype=torch.float64)
    estimate = estimate_rlct(lambda w: (h * w.square()).sum(-1), torch.zeros(4), target_log_t=14.0, **QUICK)
    assert estimate.status == "warning"
    assert any("as target_log_t says: that is" in reason for reason in estimate.reasons)


def test_a_potential_too_small_to_be_felt_is_not_called_zero():
    tiny = estimate_rlct(lambda w: 1e-300 * w.square().sum(-1), torch.zeros(1), **QUICK)
    assert tiny.status == "failed"
    assert "multiply it by a large number" in tiny.reasons[0]


@pytest.mark.parametrize(
    "knobs",
    [
        {"seed": -1}, {"seed": 1.5}, {"seed": None}, {"particles": 4096.5}, {"particles": "a"}, {"target_log_t": "a"},
        {"target_log_t": float("-inf")}, {"max_seconds": float("nan")}, {"max_seconds": -1}, {"progress": True},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(knobs):
    (name,) = knobs
    with pytest.raises(InputError, match=name):
        estimate_rlct(lambda w: w.square().sum(-1), torch.zeros(2), **knobs)


def test_a_potential_that_breaks_later_is_one_line():
    calls = []

    def breaking(w):
        calls.append(len(w))
        if len(calls) > 20:
            raise RuntimeError("no more")
        return w.square().sum(-1)

    with pytest.raises(InputError, match=r"the potential raised RuntimeError .*: no more"):
        estimate_rlct(breaking, torch.zeros(2), **QUICK)


def test_a_logarithm_in_a_young_curve_takes_a_longer_ladder():
    """x⁶y⁸ + z²: at log t = 121 one seed of 20 saw λ = 0.633, m = 2, for 5/8 and 1; exact curves are right from 130."""
    model = zoo.get("sum-w2-crossing-6-8")

    def found(end: float, one: float) -> Climb:
        log_t = np.arange(0.0, end, 1.5)
        noise = 1e-4 * np.random.default_rng(0).standard_normal((len(log_t), 8))
        means = model.mean_potential(np.exp(log_t), 25.0)[:, None] + noise
        stages = [SimpleNamespace(log_t=t, mean=y) for t, y in zip(log_t, means, strict=True)]
        return Climb(stages, SimpleNamespace(probabilities={1: one, 2: 1 - one}))

    assert found(138.5, 0.97).tail > 1 > found(138.5, 0.7).tail
    assert found(185.0, 0.7).tail > 1
    (reason,) = ladder_reasons(found(138.5, 0.7))
    assert "for the first particles alone" in reason
