"""Tracker: training with it and without it is the same to the last bit; its schedule, its budget, its scale."""

import copy
import itertools
import random

import numpy as np
import pytest
import torch
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
    same = {"gamma": found.gamma, "beta": found.beta, "progress": False, **QUICK}
    assert slt.estimate_llc(snapshots[10], data(), **same).llc == found.llc[2]
    assert slt.estimate_llc(snapshots[0], data(), progress=False, **QUICK).gamma == found.gamma  # chosen there


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
    monkeypatch.setattr(tracker, "_estimate", lambda step, model: _row(step))
    for step in range(121):
        tracker(step, None)
        tracker(step, None)  # twice is once
    assert list(tracker.trajectory().step) == steps


def _row(step):
    return {"step": step, "status": "ok", "llc": 1.0, "std_error": 0.1, "loss": 0.1, "n": 9, "beta": 1.0, "gamma": 1.0}


def test_the_budget_is_kept(monkeypatch):
    """On a clock that only the loop and the estimates move: 1 s a step, 3 s an estimate, a tenth of the time."""
    clock = [0.0]
    monkeypatch.setattr(slt.series.tracker.time, "perf_counter", lambda: clock[0])
    tracker = slt.Tracker(data(), every=1, budget=0.1)

    def estimate(step, model):
        clock[0] += 3
        return _row(step)

    monkeypatch.setattr(tracker, "_estimate", estimate)
    for step in range(600):
        clock[0] += 1
        tracker(step, None)
    steps = tracker.trajectory().step
    assert 0.08 * 600 <= tracker.seconds <= 0.1 * 600
    assert tracker.passed_over == 600 - len(steps)
    assert max(b - a for a, b in itertools.pairwise(steps[1:])) <= 31


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
