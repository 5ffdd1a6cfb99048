"""Tracker: training with it and without it is the same to the last bit; its schedule, its budget, its scale."""

import copy
import itertools
import random
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import slt
import slt.series.tracker

QUICK = {"chains": 4, "draws": 8}


def data():
    order = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=order)
    return x, (x[:, 0] > 0).long()


def train(tracker=None, steps=12):
    """A loop with everything that could be disturbed: dropout, batch norm, momentum, gradients that add up."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    x, y = data()
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
    model[1].eval()  # one part in another mode than the rest
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(steps):
        rows = torch.randperm(len(x))[:16]
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
        if tracker is not None:
            tracker(step, model)
    states = [torch.get_rng_state(), torch.tensor(np.random.get_state()[1].astype(np.int64))]  # noqa: NPY002
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    modes = torch.tensor([module.training for module in model.modules()])
    moments = [value for state in optimizer.state_dict()["state"].values() for value in state.values()]
    return [*model.state_dict().values(), *moments, *gradients, *states, modes, torch.tensor(random.random())]


def test_training_is_the_same_to_the_last_bit():
    tracker = slt.Tracker(data(), every=4, **QUICK)
    watched, alone = train(tracker), train()
    assert len(watched) == len(alone)
    assert all(torch.equal(a, b) for a, b in zip(watched, alone, strict=True))
    assert list(tracker.trajectory().step) == [0, 4, 8]


def test_what_is_estimated_is_the_model_as_it_was():
    snapshots = {}

    class Watching(slt.Tracker):
        def __call__(self, step, model):
            snapshots[step] = copy.deepcopy(model)
            super().__call__(step, model)

    tracker = Watching(data(), every=5, **QUICK)
    train(tracker)
    found = tracker.trajectory()
    assert list(found.step) == [0, 5, 10]
    same = {"gamma": found.gamma, "beta": found.beta, "remedy": "gradient-normal", "progress": False, **QUICK}
    assert slt.estimate_llc(snapshots[10], data(), **same).llc == found.llc[2]
    assert slt.estimate_llc(snapshots[0], data(), progress=False, **QUICK).gamma == found.gamma  # chosen there


def test_the_numbers_are_those_of_track(tmp_path):
    model = nn.Linear(3, 2)  # far from a minimum: without the remedy of a series, λ̂ is lower
    save_file(model.state_dict(), tmp_path / "step_7.safetensors")
    curve = slt.track(slt.Task(model, data(), None), tmp_path, tmp_path / "run", progress=False, **QUICK)
    tracker = slt.Tracker(data(), every=1, **QUICK)
    tracker(7, model)
    assert tracker.trajectory().llc == curve.llc
    plain = slt.Tracker(data(), every=1, remedy="none", **QUICK)
    plain(7, model)
    assert plain.trajectory().llc < curve.llc
    with pytest.raises(slt.InputError, match="remedy must be"):
        slt.Tracker(data(), remedy="prayer")


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (50, [0, 50, 100]),
        ([3, 100, 7], [3, 7, 100]),
        ("log", [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100]),
    ],
)
def test_schedules(monkeypatch, every, steps):
    tracker = slt.Tracker(data(), every=every)
    monkeypatch.setattr(slt.series.tracker, "estimate_row", lambda step, *_: _row(step))
    for step in range(121):
        tracker(step, None)
        tracker(step, None)  # twice is once
    assert list(tracker.trajectory().step) == steps


def _row(step):
    return {"step": step, "status": "ok", "llc": 1.0, "std_error": 0.1, "loss": 0.1, "n": 9, "beta": 1.0, "gamma": 1.0}


class Clock:
    """A clock that only the loop and the estimates move, and estimates of given lengths that heed their limit."""

    def __init__(self, monkeypatch, lengths):
        self.now, self.lengths, self.cut = 0.0, iter(lengths), 0
        monkeypatch.setattr(slt.series.tracker.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(slt.series.tracker, "estimate_row", self.estimate)

    def estimate(self, step, model, data, loss, settings, limit):
        wanted = next(self.lengths)
        self.now += min(wanted, limit)
        if wanted > limit:
            self.cut += 1
            raise slt.series.tracker.OutOfTime
        return _row(step)

    def train(self, tracker, steps):
        """One second a step; the share of the estimates after each."""
        for step in range(steps):
            self.now += 1
            tracker(step, None)
            yield tracker.seconds / (step + 1)


def test_the_budget_is_kept(monkeypatch):
    """3 s an estimate, a tenth of the time."""
    tracker = slt.Tracker(data(), every=1, budget=0.1)
    shares = list(Clock(monkeypatch, itertools.repeat(3)).train(tracker, 600))
    assert max(shares) <= 0.11
    assert 0.08 <= shares[-1] <= 0.1
    steps = tracker.trajectory().step
    assert len(steps) + tracker.passed_over == 600
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 31


@pytest.mark.parametrize("budget", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_no_estimate_breaks_the_budget_however_long_it_takes(monkeypatch, budget, seed):
    """Lengths that vary by a factor of 50, in no order: at every moment the share is within one point."""
    lengths = np.random.default_rng(seed).lognormal(2, 1, 10_000)
    clock, tracker = Clock(monkeypatch, lengths), slt.Tracker(data(), every=1, budget=budget)
    shares = list(clock.train(tracker, 5_000))
    assert clock.cut > 0
    assert max(shares) <= budget + 0.01 + 1e-9
    assert shares[-1] >= budget - 0.02
    assert len(tracker.trajectory().step) + tracker.passed_over == 5_000


@pytest.mark.parametrize("background", [False, True])
def test_an_estimate_without_time_is_given_up_and_leaves_nothing(monkeypatch, background):
    tracker = slt.Tracker(data(), every=1, budget=0.1, background=background, **QUICK)
    limits = iter([1e-3, 1e9])
    monkeypatch.setattr(tracker, "_limit", lambda now: next(limits))
    model = nn.Linear(3, 2)
    tracker(0, model)
    tracker(1, model)
    tracker.wait()
    assert tracker.passed_over == 1
    assert list(tracker.trajectory().step) == [1]
    same = {"remedy": "gradient-normal", "progress": False, **QUICK}
    assert tracker.trajectory().llc[0] == slt.estimate_llc(model, data(), **same).llc
    assert tracker.seconds > 1e-3


def test_time_that_is_enough_changes_no_bit():
    model = nn.Linear(3, 2)
    timed = slt.series.tracker.estimate_row(0, model, data(), None, QUICK, 1e9)
    assert timed == slt.series.tracker.estimate_row(0, model, data(), None, QUICK)


def test_a_loss_that_explodes_does_not_end_the_training():
    tracker = slt.Tracker(data(), every=1, **QUICK)
    model = nn.Linear(3, 2)
    tracker(0, model)
    with torch.no_grad():
        model.weight.fill_(torch.nan)
    tracker(1, model)
    found = tracker.trajectory()
    assert found.status[1] == "skipped"
    assert "loss at the given weights" in found.reasons[1]
    with pytest.raises(slt.InputError, match="loss at the given weights"):
        slt.Tracker(data(), every=1, **QUICK)(0, model)  # nothing ever worked: the user wants to know


class Small(nn.Module):
    """Of a test module, which the background process could not import."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)


def moving(tracker, steps=4):
    """Weights that move in place after each call: a snapshot that is not one would show."""
    torch.manual_seed(3)
    model = Small()
    for step in range(steps):
        tracker(step, model)
        with torch.no_grad():
            model.layer.weight.add_(torch.randn(2, 3))
    return model


def test_in_the_background_the_numbers_are_the_same(tmp_path):
    alone = slt.Tracker(data(), every=1, **QUICK)
    tracker = slt.Tracker(data(), every=1, background=True, run=tmp_path / "run", **QUICK)
    assert torch.equal(moving(alone).layer.weight, moving(tracker).layer.weight)
    expected, found = alone.trajectory(), tracker.trajectory()
    for name in ("step", "llc", "std_error", "loss", "rhat", "ess", "step_size", "chain_llc"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert (found.gamma, found.beta) == (expected.gamma, expected.beta)
    assert [row["step"] for row in tracker.news()] == [0, 1, 2, 3]
    assert tracker.news() == []
    np.testing.assert_array_equal(slt.read_trajectory(tmp_path / "run").llc, expected.llc)


def test_in_the_background_training_is_the_same_to_the_last_bit():
    tracker = slt.Tracker(data(), every=4, background=True, **QUICK)
    watched, alone = train(tracker), train()
    assert all(torch.equal(a, b) for a, b in zip(watched, alone, strict=True))
    tracker.wait()
    assert list(tracker.trajectory(wait=False).step) == [0, 4, 8]


def test_a_background_process_that_dies_costs_one_estimate(caplog):
    tracker = slt.Tracker(data(), every=1, background=True, **QUICK)
    model = Small()
    for step in range(3):
        tracker(step, model)
        if step == 0:
            tracker._background._process.kill()
            tracker._background._process.wait()
    found = tracker.trajectory()
    assert found.status[0] == "skipped"
    assert set(found.status[1:]) <= {"ok", "warning", "failed"}
    assert "the background process ended abruptly (signal 9)" in found.reasons[0]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("slt: no estimate at step 0: the background process ended")
    assert "\n" not in said


def test_an_error_in_the_background_is_one_line(caplog):
    tracker = slt.Tracker(data(), every=1, background=True, **QUICK)
    model = Small()
    with torch.no_grad():
        model.layer.weight.fill_(torch.nan)
    tracker(0, model)
    assert tracker.trajectory().status == ("skipped",)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "the loss at the given weights is nan" in said


def test_what_cannot_be_sent_is_said_at_once():
    model = Small()
    model.lock = threading.Lock()
    with pytest.raises(slt.InputError, match="sends the model to another process, which fails") as caught:
        slt.Tracker(data(), every=1, background=True)(0, model)
    assert "\n" not in str(caught.value)


def test_the_folder_is_what_read_trajectory_reads(tmp_path):
    tracker = slt.Tracker(data(), every=6, run=tmp_path / "run", **QUICK)
    train(tracker)
    np.testing.assert_array_equal(slt.read_trajectory(tmp_path / "run").llc, tracker.trajectory().llc)


def test_what_cannot_be_used():
    for every in (0, -5, "linear", True):
        with pytest.raises(slt.InputError, match="every must be"):
            slt.Tracker(data(), every=every)
    with pytest.raises(slt.InputError, match="budget must be"):
        slt.Tracker(data(), budget=0)
    with pytest.raises(slt.InputError, match="unknown setting 'chain'"):
        slt.Tracker(data(), chain=3)
    with pytest.raises(slt.InputError, match="nothing was tracked yet"):
        slt.Tracker(data()).trajectory()
