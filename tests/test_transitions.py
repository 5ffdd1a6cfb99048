"""Transitions: the exact fit against all possible ones, false alarms, what is found where, and how surely."""

import itertools
import json
import math

import numpy as np
import pytest

import slt
from slt.trajectory import Trajectory
from slt.transitions.moves import find_moves, fit_curve, penalty, working_errors
from slt.transitions.piecewise import fit_knots

STEPS = np.unique(np.geomspace(100, 100_000, 60).round().astype(int))


def series(llc, error, loss=None, steps=STEPS, **fields) -> Trajectory:
    unknown = np.full(len(steps), np.nan)
    return Trajectory(step=steps, llc=llc, std_error=error, loss=unknown if loss is None else loss, **fields)


def noisy(truth, seed=0, share=0.04):
    error = share * truth
    return truth + error * np.random.default_rng(seed).standard_normal(len(truth)), error


def cost(x, y, error, knots):
    columns = [np.ones_like(x), x, *(np.maximum(x - x[k], 0) for k in knots)]
    design = np.stack(columns, 1) / error[:, None]
    residual = y / error - design @ np.linalg.lstsq(design, y / error, rcond=None)[0]
    return residual @ residual


def test_no_choice_of_knots_is_better_than_the_one_found():
    rng = np.random.default_rng(0)
    for _ in range(60):
        count, price = int(rng.integers(3, 10)), float(rng.choice([1, 3, 6]))
        x, error = np.sort(rng.uniform(0, 5, count)), rng.uniform(0.3, 1, count)
        y = 2 * rng.standard_normal(count) + 4 * (x > 2.5)
        every = (list(c) for size in range(count - 1) for c in itertools.combinations(range(1, count - 1), size))
        least = min(cost(x, y, error, knots) + price * len(knots) for knots in every)
        found = fit_knots(x, y, error, price)
        assert cost(x, y, error, found) + price * len(found) <= least + 1e-7


def test_the_fit_does_not_depend_on_units():
    rng = np.random.default_rng(1)
    x, y = np.arange(40.0), np.where(np.arange(40) < 20, 1.0, 5.0) + 0.3 * rng.standard_normal(40)
    error = np.full(40, 0.3)
    expected = fit_knots(x, y, error, 10.0)
    assert expected == [19, 20]
    assert fit_knots(1e6 + 1e3 * x, 1e9 + 1e-3 * y, 1e-3 * error, 10.0) == expected


@pytest.mark.parametrize("chains", [8, 70])
@pytest.mark.parametrize("count", [12, 60])
def test_false_alarms_are_as_rare_as_promised(count, chains):
    """With errors that come from the scatter of as many chains: 8 know them to 27%, 70 to 9%."""
    rng = np.random.default_rng(2)
    x, alarms, trials = np.arange(float(count)), 0, 250
    for _ in range(trials):
        error = rng.uniform(0.7, 1.3, count)
        y = 20 + error * rng.standard_normal(count)
        used, resolution = working_errors(x, y, error * np.sqrt(rng.chisquare(chains - 1, count) / (chains - 1)))
        alarms += bool(find_moves(fit_curve(x, y, used, resolution), x))
    promised = 0.05
    assert (alarms / trials - promised) / math.sqrt(promised * (1 - promised) / trials) < 4


def test_a_curve_without_noise_is_found_exactly():
    x = np.linspace(0, 10, 41)
    truth = np.interp(x, [0, 3.1, 6.6, 10], [1, 1, 8, 8])
    (move,) = find_moves(fit_curve(x, truth, np.full(41, 0.01), 0.0), x)
    assert (move.start, move.end, move.change) == pytest.approx((3.1, 6.6, 7.0), abs=2e-3)
    assert move.middle == pytest.approx(4.85, abs=2e-3)


def test_opposing_staircases():
    truth = np.select([STEPS < 1000, STEPS < 10_000], [10.0, 20.0], 45.0)
    loss = np.select([STEPS < 1000, STEPS < 10_000], [2.0, 1.2], 0.5) * (1 + 1e-3 * np.sin(STEPS))
    found = slt.find_transitions(series(*noisy(truth), loss), replicates=40)
    assert [(item.direction, item.loss, item.jump) for item in found] == [("up", "down", True)] * 2
    for item, place in zip(found, (1000, 10_000), strict=True):
        below, above = STEPS[place > STEPS][-1], STEPS[place <= STEPS][0]
        assert (item.start, item.end) == pytest.approx((below, above))
        low, high = item.middle_interval
        assert below < low < item.middle < high < above
        assert item.kind.startswith("opposing staircases")
        assert item.confidence > 0.9
        assert item.lead_interval[0] < 0 < item.lead_interval[1]
    assert json.loads(json.dumps(found[0].to_dict()))["kind"] == found[0].kind


def test_the_error_of_a_change_is_that_of_the_levels_on_both_sides():
    truth, share = np.where(STEPS < 1000, 10.0, 20.0), np.mean(STEPS < 1000)
    expected = 0.5 * math.sqrt((1 / share + 1 / (1 - share)) / len(STEPS))
    scores, errors = [], []
    for seed in range(30):
        llc = truth + 0.5 * np.random.default_rng(seed).standard_normal(len(STEPS))
        (found,) = slt.find_transitions(series(llc, np.full(len(STEPS), 0.5)), replicates=1)
        errors.append(found.change_error)
        scores.append((found.change - 10) / found.change_error)
    assert np.median(errors) == pytest.approx(expected, rel=0.05)  # the resolution is in it, and makes it 2% larger
    assert min(errors) > expected  # larger where the scatter has raised the errors, never smaller
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.3
    assert f"llc {found.change:+.3g} ± {found.change_error:.2g} from" in str(found)


@pytest.mark.parametrize(("loss_starts", "lead"), [(2500, 3000), (400, -1200)])
def test_the_lead_has_the_sign_of_what_moves_first(loss_starts, lead):
    x = np.log(STEPS)
    truth = np.interp(x, np.log([1000, 4000]), [10, 40])  # half way at step 2000
    loss = np.interp(x, np.log([loss_starts, 4 * loss_starts]), [2.0, 0.5])  # half way at twice its start
    loss = loss + 1e-3 * np.random.default_rng(3).standard_normal(len(x))
    (item,) = slt.find_transitions(series(*noisy(truth), loss), replicates=40)
    low, high = item.lead_interval
    assert low < lead < high
    assert low * high > 0


def test_a_ramp_that_pauses_is_two_transitions_and_one_that_turns_back_has_a_turn():
    x = np.log(STEPS)
    truth = np.interp(x, np.log([300, 1000, 3000, 8000]), [10, 30, 30, 60])
    found = slt.find_transitions(series(*noisy(truth, share=0.02)), replicates=30)
    assert [item.direction for item in found] == ["up", "up"]
    assert found[0].end == pytest.approx(1000, rel=0.15)
    assert found[0].turn is None
    truth = np.interp(x, np.log([300, 1000, 10_000, 30_000]), [10, 40, 40, 20])
    first, second = slt.find_transitions(series(*noisy(truth, share=0.02)), replicates=30)
    assert (first.direction, second.direction) == ("up", "down")
    assert first.turn == pytest.approx(math.sqrt(1000 * 10_000), rel=0.2)
    assert first.turn_interval[0] <= first.turn <= first.turn_interval[1]
    assert second.turn is None


def test_simplification_at_constant_loss():
    truth = np.interp(np.log(STEPS), np.log([2000, 8000]), [60, 20])
    flat = 0.1 + 1e-3 * np.random.default_rng(4).standard_normal(len(STEPS))
    (item,) = slt.find_transitions(series(*noisy(truth), flat))
    assert (item.direction, item.loss, item.lead) == ("down", "flat", None)
    assert "constant loss" in item.kind


def test_noise_that_the_chains_share_is_no_transition():
    """Chains' noise that is the same at all checkpoints moves the level, not the shape: intervals do not see it."""
    rng = np.random.default_rng(5)
    truth = np.interp(np.log(STEPS), np.log([1000, 6000]), [20, 50])
    shared = 6 * rng.standard_normal((8, 1)) * np.ones_like(STEPS)
    own = rng.standard_normal((8, len(STEPS)))
    chains = truth + shared + own
    error = np.full(len(STEPS), chains.std(0, ddof=1).mean() / math.sqrt(8))
    sharp = slt.find_transitions(series(chains.mean(0), error, chain_llc=chains), replicates=50)[0].start_interval
    blunt = slt.find_transitions(series(chains.mean(0), error), replicates=50)[0].start_interval
    assert blunt[0] < 1000 < blunt[1]
    assert math.log(blunt[1] / blunt[0]) > 1.5 * math.log(sharp[1] / sharp[0])


def test_checkpoints_without_a_number_are_left_out():
    truth = np.where(STEPS < 3000, 10.0, 30.0)
    llc, error = noisy(truth)
    llc[7], llc[20] = np.nan, 1e6
    status = tuple("failed" if i == 20 else "ok" for i in range(len(STEPS)))
    (item,) = slt.find_transitions(series(llc, error, status=status))
    assert item.start <= 3000 <= item.end
    with pytest.raises(slt.InputError, match="at least 5 checkpoints"):
        slt.find_transitions(series(llc[:6], error[:6], steps=STEPS[:6], status=("failed",) * 2 + ("ok",) * 4))


def test_a_constant_and_a_straight_line():
    flat = np.full(len(STEPS), 3.0)
    assert slt.find_transitions(series(flat, np.zeros(len(STEPS)))) == []
    (item,) = slt.find_transitions(series(np.log(STEPS), np.full(len(STEPS), 0.05)))
    assert (item.direction, item.start, item.end) == ("up", pytest.approx(STEPS[0]), pytest.approx(STEPS[-1]))


def test_step_zero_and_evenly_spaced_steps():
    steps = np.arange(0, 10_000, 250)
    llc, error = noisy(np.where(steps < 4900, 10.0, 25.0))
    (item,) = slt.find_transitions(series(llc, error, steps=steps))
    assert (item.start, item.end) == pytest.approx((4750, 5000))


def test_the_same_seed_gives_the_same_intervals():
    llc, error = noisy(np.interp(np.log(STEPS), np.log([1000, 6000]), [20, 50]))
    once, again, other = (slt.find_transitions(series(llc, error), replicates=20, seed=seed) for seed in (0, 0, 1))
    assert once == again != other


def test_errors_known_too_well_are_raised_to_the_scatter():
    x = np.arange(60.0)
    y = np.random.default_rng(6).standard_normal(60)
    used, _ = working_errors(x, y, np.full(60, 0.1))
    assert 0.6 < used.mean() < 1.1
    used, _ = working_errors(x, y, np.full(60, 1.0))
    assert used.mean() == pytest.approx(1.0, abs=0.1)
    assert penalty(60) == pytest.approx(9.82, abs=0.01)
