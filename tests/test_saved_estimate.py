"""Estimates on disk: what comes back is what was saved, and anything else is refused in one line."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import xarray as xr

import slt
from samplers.trace import Trace
from slt.llc.estimation import estimate_potential
from slt.records import from_record, to_record


def potential(w):
    return 0.5 * w.square().sum(-1)


@pytest.fixture(scope="module")
def run():
    return estimate_potential(potential, torch.zeros(3, dtype=torch.float64), 200, gamma=2.0, chains=4, draws=40)


def same(a, b):
    """Equality with NaN equal to itself."""
    return json.dumps(to_record(a, without=("trace",))) == json.dumps(to_record(b, without=("trace",)))


def test_what_is_saved_comes_back(run, tmp_path):
    path = tmp_path / "new folder" / "run.nc"
    run.save(path)
    read = slt.Estimate.load(path)
    assert same(read, run)
    for field in dataclasses.fields(slt.Estimate):
        assert type(getattr(read, field.name)) is type(getattr(run, field.name)), field.name
    for name in ("loss", "center_loss", "distance", "acceptance"):
        np.testing.assert_array_equal(getattr(read.trace, name), getattr(run.trace, name))
    assert read.trace.warmup == run.trace.warmup
    assert str(read) == str(run)
    read.save(path)  # and once more
    assert same(slt.Estimate.load(path), run)
    assert np.array_equal(Trace.load(path).loss, run.trace.loss)  # readable as a bare trace


def test_a_failed_run_comes_back_with_its_reasons(tmp_path):
    def exploding(w):
        size = w.square().sum(-1)
        return torch.where(size > 0, torch.nan, 1.0) * size

    failed = estimate_potential(exploding, torch.zeros(2, dtype=torch.float64), 50, gamma=1.0, chains=2, draws=8)
    assert failed.status == "failed"
    failed.save(tmp_path / "run.nc")
    read = slt.Estimate.load(tmp_path / "run.nc")
    assert same(read, failed)
    assert math.isnan(read.llc)
    assert read.sensitivity is None


def test_what_is_no_saved_estimate_is_refused(run, tmp_path):
    def refused(name, words):
        with pytest.raises(slt.InputError, match=words) as error:
            slt.Estimate.load(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
        assert "slt estimate TASK CHECKPOINT --save" in str(error.value)

    refused("none.nc", "no such file")
    (tmp_path / "text.nc").write_text("llc = 3")
    refused("text.nc", "holds no draws")
    xr.Dataset({"other": ("x", np.zeros(3))}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    refused("other.nc", "holds no draws")
    run.trace.save(tmp_path / "older.nc")
    refused("older.nc", "no estimate, as older versions")
    for name, text in (
        ("broken.nc", "{"),
        ("list.nc", "[]"),
        ("missing.nc", json.dumps({"llc": 1.0})),
        ("typed.nc", json.dumps({**to_record(run, without=("trace",)), "n": "many"})),
    ):
        dataclasses.replace(run.trace, attributes={"estimate": text}).save(tmp_path / name)
        refused(name, "another version")


def test_an_interrupted_save_leaves_what_was_there(run, tmp_path, monkeypatch):
    path = tmp_path / "run.nc"
    run.save(path)
    before = path.read_bytes()

    def interrupted(self, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Trace, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["run.nc"]


@dataclasses.dataclass
class Inner:
    value: float
    names: tuple[str, ...] = ()


@dataclasses.dataclass
class Outer:
    inner: Inner | None
    pair: tuple[float, float]
    many: list[Inner]
    by_name: dict[str, float]
    values: np.ndarray
    flag: bool = False


def test_records_of_nested_dataclasses():
    full = Outer(
        Inner(math.nan, ("a", "b")), (1.0, math.inf), [Inner(2.0)], {"x": 3.0}, np.array([1.0, math.nan]), True
    )
    record = json.loads(json.dumps(to_record(full), allow_nan=False))
    read = from_record(Outer, record)
    assert math.isnan(read.inner.value)
    assert math.isnan(read.pair[1])
    assert (read.inner.names, read.many, read.by_name, read.flag) == (("a", "b"), [Inner(2.0)], {"x": 3.0}, True)
    np.testing.assert_array_equal(read.values, full.values)
    assert from_record(Outer, {**record, "inner": None, "unknown": 1}).inner is None
    with pytest.raises(KeyError):
        from_record(Outer, {"inner": None})
