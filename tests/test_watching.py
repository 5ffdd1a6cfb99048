"""`watch`: checkpoints as they arrive; half-written ones are no corrupt ones; a transition is rung once."""

import functools
import json
import math
import os
import threading
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from series_task import TASK, weights
from torch import nn

import slt
from slt.series import watching
from slt.series.arrivals import Arrivals
from slt.series.bell import Bell
from slt.trajectory import Trajectory
from slt.transitions.detection import find_transitions

QUICK = {"chains": 4, "draws": 12, "progress": False}


def name(step):
    return f"step_{step:06d}.safetensors"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "series").mkdir()
    return tmp_path


def arrivals(folder, patience=60.0):
    return Arrivals(slt.Task(nn.Linear(3, 1), None), folder / "series", patience)


def steps(found):
    return [candidate.step for candidate in found]


def test_a_checkpoint_has_arrived_when_it_has_not_changed_between_two_looks(folder):
    seen = arrivals(folder)
    save_file(weights(0), folder / "series" / name(0))
    assert steps(seen.look(0)) == []
    assert steps(seen.look(1)) == [0]
    save_file(weights(10), folder / "series" / name(10))
    assert steps(seen.look(2)) == [0]
    assert steps(seen.look(3)) == [0, 10]
    save_file(weights(5), folder / "series" / name(10))  # written again
    assert steps(seen.look(4)) == [0]
    (second,) = [one for one in seen.look(5) if one.step == 10]
    assert second.weights == slt.load_checkpoint(nn.Linear(3, 1), folder / "series" / name(10)).digest
    (folder / "series" / name(10)).unlink()  # training keeps the last few
    assert steps(seen.look(6)) == [0, 10]


def test_a_half_written_file_is_waited_for_and_a_corrupt_one_is_not_for_ever(folder):
    seen, path, whole = arrivals(folder, patience=10), folder / "series" / name(0), save(weights(0))
    for now, share in enumerate((0, 1, 2, 2, 3, 3, 3, 3)):  # slowly, with pauses
        path.write_bytes(whole[: len(whole) * share // 4])
        os.utime(path, (share, share))
        assert steps(seen.look(now)) == []
    path.write_bytes(whole)
    assert steps(seen.look(8)) == []
    assert steps(seen.look(9)) == [0]
    broken = folder / "series" / name(1)
    broken.write_bytes(whole[:50])
    found = [steps(seen.look(now)) for now in (20, 21, 29, 30)]
    assert found == [[0], [0], [0], [0, 1]]
    assert not seen.look(31)[1].weights  # so that whoever reads it finds out why


def test_giving_up_and_a_folder_of_files(folder):
    seen = arrivals(folder)
    part = folder / "series" / "checkpoint-7"
    part.mkdir()
    (part / "config.json").write_text("{}")
    assert [steps(seen.look(now)) for now in (0, 1)] == [[], []]  # no weights yet
    save_file(weights(0), part / "model.safetensors")
    assert [steps(seen.look(now)) for now in (2, 3)] == [[], [7]]
    (folder / "series" / name(9)).write_bytes(b"")
    assert steps(seen.look(4)) == [7]
    assert steps(seen.look(5)) == [7]
    assert steps(seen.look(6, give_up=True)) == [7, 9]


def staircase(count, jumps=((15, 10.0), (30, 25.0)), seed=0):
    rng = np.random.default_rng(seed)
    levels = np.full(count, 4.0)
    for at, level in jumps:
        levels[at:] = level
    error = 0.04 * levels
    return levels + error * rng.standard_normal(count), error


def looks(llc, error):
    step = np.unique(np.geomspace(100, 1e5, len(llc)).round()).astype(int)
    for count in range(5, len(llc) + 1):
        part = {"step": step[:count], "llc": llc[:count], "std_error": error[:count], "loss": np.full(count, np.nan)}
        yield find_transitions(Trajectory(**part), replicates=5)


def test_each_transition_is_rung_once_soon_and_in_its_direction():
    bell = Bell()
    rung = [(4 + k, one) for k, found in enumerate(looks(*staircase(45))) for one in bell.listen(found)]
    assert [one.direction for _, one in rung] == ["up", "up"]
    assert [now for now, _ in rung] == [15, 30]  # the checkpoints 15 and 30 are the first that differ


def test_a_series_without_a_transition_rings_for_nothing():
    count, rung = 40, 0
    for seed in range(25):
        bell = Bell()
        rung += sum(len(bell.listen(found)) for found in looks(*staircase(count, jumps=(), seed=seed)))
    assert rung == 0


def test_a_change_is_rung_once_it_is_certain_and_another_direction_is_another_transition():
    found = [
        find_transitions(Trajectory(step=np.arange(1, 31), llc=llc, std_error=error, loss=np.full(30, np.nan)))
        for llc, error in (staircase(30, ((15, 10.0),)), staircase(30, ((15, 1.0),)))
    ]
    up, down = (one for (one,) in found)
    faint = replace(up, change_error=0.21 * up.change)
    unknown = replace(up, change_error=math.nan)
    bell = Bell(5.0)
    assert [bell.listen(one) for one in ([faint], [unknown], [faint])] == [[], [], []]
    assert bell.listen([up]) == [up]
    assert bell.listen([up]) == []
    assert bell.listen([]) == []
    assert bell.listen([up]) == []
    assert bell.listen([down]) == [down]
    assert bell.listen([up, down]) == []  # rung long ago


def write(folder, step):
    partial = folder / "partial"
    save_file(weights(step), partial)
    partial.rename(folder / "series" / name(step))


@pytest.fixture
def clock(monkeypatch):
    """A clock that only sleeping moves, and what else happens meanwhile: a list of calls, one at each sleep."""
    now, meanwhile = [0.0], []

    def sleep(seconds):
        now[0] += seconds
        if meanwhile:
            meanwhile.pop(0)()

    monkeypatch.setattr(watching, "time", types.SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return meanwhile


def estimates(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "run" / "estimates").iterdir()}


def follow(folder, **settings):
    place = folder / "task.py", folder / "series", folder / "run"
    return list(slt.watch(*place, interval=2, stop_after=10, **{**QUICK, **settings}))


def test_a_folder_that_grows(folder, clock):
    clock += [functools.partial(write, folder, step) for step in (0, 10, 20, 40, 80, 160)]
    assert follow(folder) == []
    saved = json.loads((folder / "run" / "series.json").read_text())
    assert saved["scale"]["reference"] == name(0)
    watched, finished = slt.read_trajectory(folder / "run"), estimates(folder)
    assert list(watched.step) == [0, 10, 20, 40, 80, 160]
    assert len(finished) == 6  # none was made twice
    again = slt.track(folder / "task.py", folder / "series", folder / "run", **QUICK)
    np.testing.assert_array_equal(watched.llc, again.llc)
    assert follow(folder) == []
    assert estimates(folder) == finished  # `track` and another `watch` keep to the scale and to what is there


def test_a_transition_comes_out_once_when_it_shows(folder, clock, monkeypatch):
    (step_up,) = find_transitions(
        Trajectory(step=np.arange(1, 21), **dict(zip(("llc", "std_error"), staircase(20, ((9, 10.0),)), strict=True)),
                   loss=np.full(20, np.nan))
    )  # fmt: skip
    shown = lambda run: [step_up] if len(list((run.path / "estimates").iterdir())) >= 3 else []  # noqa: E731
    monkeypatch.setattr(watching.RunFolder, "read_transitions", shown)
    clock += [functools.partial(write, folder, step) for step in (0, 10, 20, 40, 80)]
    seen = []
    place = folder / "task.py", folder / "series", folder / "run"
    for transition in slt.watch(*place, interval=2, stop_after=10, **QUICK):
        seen.append((transition, len(estimates(folder))))
    assert seen == [(step_up, 3)]


def test_a_first_checkpoint_that_cannot_be_used_is_no_reference(folder, clock, capsys):
    save_file({"weight": torch.full((1, 3), 1e30), "bias": torch.zeros(1)}, folder / "series" / name(0))
    for step in (10, 20):
        write(folder, step)
    follow(folder, progress=True)
    found = slt.read_trajectory(folder / "run")
    assert found.status[0] == "skipped"
    assert np.isfinite(found.llc[1:]).all()
    assert json.loads((folder / "run" / "series.json").read_text())["scale"]["reference"] == name(10)
    assert f"gamma is chosen from the first checkpoint, {name(10)}" in capsys.readouterr().err


def test_interrupted_it_leaves_what_is_finished(folder, clock):
    def interrupt():
        raise KeyboardInterrupt

    clock += [functools.partial(write, folder, step) for step in (0, 10, 20)]
    clock += [lambda: None, interrupt]
    with pytest.raises(KeyboardInterrupt):
        follow(folder)
    assert list(slt.read_trajectory(folder / "run").step) == [0, 10, 20]


def test_it_ends_when_it_is_told_to(folder, clock):
    stop = threading.Event()
    clock += [functools.partial(write, folder, step) for step in (0, 10, 20)]
    clock += [lambda: None, stop.set, functools.partial(write, folder, 40)]
    follow(folder, stop=stop)
    assert list(slt.read_trajectory(folder / "run").step) == [0, 10, 20]
    assert len(clock) == 1  # nothing was looked at any more


def test_what_cannot_be_used(folder):
    def watch(where="series", **settings):
        return slt.watch(folder / "task.py", folder / where, folder / "run", **settings)

    with pytest.raises(slt.InputError, match="stop_after must be a positive number of seconds"):
        watch(stop_after=-1)
    with pytest.raises(slt.InputError, match="unknown setting 'chain'"):
        watch(chain=3)
    with pytest.raises(slt.InputError, match="is a file; give the folder"):
        watch("task.py")
    with pytest.raises(slt.InputError, match="no checkpoint that can be used"):
        list(watch("nothing", interval=0.01, stop_after=0.02))
