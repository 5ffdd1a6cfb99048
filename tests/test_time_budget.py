"""`max_seconds` ends a run wherever it is, and the verdict says so. The clock here ticks once whenever it is asked."""

import itertools
import types

import pytest
import torch
from torch import nn

import slt
import slt.llc.estimation

SETTINGS = {"gamma": 1.0, "progress": False}


@pytest.fixture
def data():
    """X, Y and the weights that fit them best: computed once, for lstsq gives other last bits from call to call."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=generator)
    y = x.sum(1, keepdim=True) + torch.randn(400, 1, generator=generator)
    return x, y, torch.linalg.lstsq(x, y).solution.T


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(slt.llc.estimation, "time", types.SimpleNamespace(monotonic=lambda: float(next(ticks))))


def run(data, **settings):
    x, y, weight = data
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    return slt.estimate_llc(model, (x, y), slt.gaussian_loss(1.0), **{**SETTINGS, **settings})


def test_in_the_middle_of_annealing(data, tmp_path):
    found = run(data, max_seconds=5.0, resume=tmp_path / "state")
    assert found.status == "failed"
    said = [reason for reason in found.reasons if "max_seconds = 5 reached during warm-up" in reason]
    assert len(said) == 1
    share = float(said[0].split(" at ")[1].split("%")[0])
    assert 0 <= share < 100
    assert found.draws + found.warmup < 40
    assert not (tmp_path / "state").exists()  # there is nothing to go on from
    assert run(data, resume=tmp_path / "state").status == "ok"


def test_in_the_middle_of_settling(data):
    found = run(data, sampler="sgld", batch_size=50, max_seconds=30.0)
    assert found.status == "failed"
    assert any("during warm-up, after " in reason and "steps of settling" in reason for reason in found.reasons)


def test_in_the_middle_of_recording(data):
    whole, cut = run(data), run(data, max_seconds=100.0)
    assert whole.status == "ok"
    assert cut.status == "warning"
    assert any("max_seconds = 100 reached" in reason for reason in cut.reasons)
    assert 4 <= cut.draws + cut.warmup < whole.draws + whole.warmup
    assert (cut.trace.loss == whole.trace.loss[:, : cut.trace.loss.shape[1]]).all()


def test_nuts_that_cannot_start(data):
    found = run(data, sampler="nuts", max_seconds=5.0)
    assert found.status == "failed"
    assert found.draws < 40
