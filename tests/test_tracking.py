"""`track`: one scale, nothing computed twice, nothing stale used, sick checkpoints named, killed at any moment."""

import concurrent.futures
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from series_task import TASK, weights

import slt
import slt.report.page
import slt.series.job
from slt.cli import main
from slt.settings import default_gamma
from slt.task import load_task
from slt.trajectory import Trajectory, read_trajectory

STEPS = (0, 10, 20, 40, 80, 160)
QUICK = {"chains": 4, "draws": 12}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "series").mkdir()
    for step in STEPS:
        save_file(weights(step), tmp_path / "series" / f"step_{step:06d}.safetensors")
    return tmp_path


def run(folder, name="run", **settings) -> Trajectory:
    return slt.track(folder / "task.py", folder / "series", folder / name, progress=False, **{**QUICK, **settings})


@pytest.fixture
def counted(monkeypatch):
    """The checkpoints that were estimated, in order."""
    done = []
    real = slt.series.job.estimate_asking

    def estimate(*args, **settings):
        done.append(settings["checkpoint"].rsplit("/")[-1])
        return real(*args, **settings)

    monkeypatch.setattr(slt.series.job, "estimate_asking", estimate)
    return done


def results(folder, name="run"):
    return [(folder / name / file).read_bytes() for file in ("trajectory.csv", "transitions.json")]


def test_one_scale_chosen_from_the_last_checkpoint_and_the_same_chains_for_all(folder):
    found = run(folder)
    assert list(found.step) == list(STEPS)
    last = torch.cat([value.flatten() for value in weights(160).values()])
    assert found.gamma == pytest.approx(default_gamma(last), rel=1e-6)
    assert found.beta == pytest.approx(1 / np.log(60))
    assert found.chain_llc.shape == (4, len(STEPS))
    saved = json.loads((folder / "run" / "series.json").read_text())
    assert saved["scale"]["reference"] == "step_000160.safetensors"
    scale = {"gamma": found.gamma, "beta": found.beta, "progress": False, "remedy": "gradient-normal", **QUICK}
    reference = slt.estimate_llc(*_task(folder, 160), **scale)
    assert found.llc[5] == reference.llc
    single = slt.estimate_llc(*_task(folder, 40), **scale, initial_step_size=reference.step_size)
    assert found.llc[3] == single.llc


def _task(folder, step):
    task = load_task(folder / "task.py")
    slt.load_checkpoint(task.model, folder / "series" / f"step_{step:06d}.safetensors")
    return task.model, task.data, task.loss


def test_the_trajectory_is_read_back_as_it_was(folder):
    found = run(folder)
    for source in (folder / "run", folder / "run" / "trajectory.csv"):
        again = read_trajectory(source)
        for name in ("step", "llc", "std_error", "loss", "rhat", "ess", "step_size"):
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name), err_msg=name)
        assert (again.n, again.beta, again.gamma) == (found.n, found.beta, found.gamma)
        assert (again.status, again.checkpoint, again.reasons) == (found.status, found.checkpoint, found.reasons)
    np.testing.assert_array_equal(read_trajectory(folder / "run").chain_llc, found.chain_llc)


def test_nothing_finished_is_computed_again(folder, counted):
    run(folder)
    before = results(folder)
    assert len(counted) == len(STEPS)
    run(folder)
    assert len(counted) == len(STEPS)
    assert results(folder) == before


def test_what_is_stale_is_not_used(folder, counted):
    run(folder)
    counted.clear()
    save_file({**weights(20), "bias": torch.full((1,), 0.1)}, folder / "series" / "step_000020.safetensors")
    run(folder)
    assert counted == ["step_000020.safetensors"]  # other weights under the same name
    counted.clear()
    run(folder, seed=1)
    assert len(counted) == len(STEPS)  # other settings
    counted.clear()
    (folder / "task.py").write_text(TASK.replace("0.09", "0.16"))
    run(folder)
    assert len(counted) == len(STEPS)  # another loss
    counted.clear()
    (folder / "task.py").write_text(TASK.replace("manual_seed(0)", "manual_seed(1)"))
    run(folder)
    assert len(counted) == len(STEPS)  # other data


def test_a_damaged_result_is_made_again(folder, counted):
    run(folder)
    before = results(folder)
    victim = sorted((folder / "run" / "estimates").iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:100])
    counted.clear()
    run(folder)
    assert counted == ["step_000020.safetensors"]
    assert results(folder) == before


def test_a_series_that_grows_keeps_its_scale(folder, counted):
    late = folder / "series" / "step_000160.safetensors"
    later = late.rename(folder / "later")
    gamma = run(folder).gamma
    later.rename(late)
    counted.clear()
    assert run(folder).gamma == gamma
    assert counted == ["step_000160.safetensors"]


def test_another_scale_in_the_same_folder_is_refused(folder):
    run(folder, gamma=5.0)
    assert run(folder).gamma == 5.0
    with pytest.raises(slt.InputError, match="holds a series at gamma = 5, and estimates at 7 do not compare"):
        run(folder, gamma=7.0)


def test_rows_at_different_scales_make_no_trajectory():
    rows = [
        {"step": i, "status": "ok", "llc": 1.0, "std_error": 0.1, "loss": 0.1, "n": 60, "beta": 0.2, "gamma": gamma}
        for i, gamma in enumerate((1.0, 2.0))
    ]
    with pytest.raises(slt.InputError, match=r"different gamma \(1 and 2\)"):
        Trajectory.from_rows(rows)


def sick(folder):
    good = (folder / "series" / "step_000020.safetensors").read_bytes()
    (folder / "series" / "step_000020.safetensors").write_bytes(good[: len(good) // 2])
    save_file({"weight": torch.zeros(1, 4), "bias": torch.zeros(1)}, folder / "series" / "step_000040.safetensors")
    (folder / "series" / "checkpoint-50").mkdir()
    save_file({**weights(10), "bias": torch.ones(1)}, folder / "series" / "iter_10.safetensors")
    shutil.copy(folder / "series" / "step_000080.safetensors", folder / "series" / "iter_80.safetensors")


def test_sick_checkpoints_are_named_and_the_rest_is_done(folder, capfd):
    sick(folder)
    found = slt.track(folder / "task.py", folder / "series", folder / "run", progress=True, **QUICK)
    status = dict(zip(found.step.tolist(), found.status, strict=True))
    assert [step for step, word in status.items() if word == "skipped"] == [10, 20, 40, 50]
    assert all(np.isfinite(found.llc) == (np.array(found.status) != "skipped"))
    reasons = dict(zip(found.step.tolist(), found.reasons, strict=True))
    assert "both are step 10, with different weights" in reasons[10]
    assert "step_000020.safetensors" in reasons[20]
    assert "wrong shape" in reasons[40]
    assert "checkpoint-50" in reasons[50]
    assert not any("\n" in reason for reason in reasons.values())
    said = capfd.readouterr().err
    assert "step 80 is there twice with the same weights" in said
    assert all(reasons[step] in said for step in (10, 20, 40, 50))
    assert read_trajectory(folder / "run").status == found.status


def test_no_sound_checkpoint_at_all(folder):
    for path in (folder / "series").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(slt.InputError, match="step_000000") as caught:
        run(folder)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_is_left_out(folder):
    save_file(
        {"weight": torch.full((1, 3), 1e30), "bias": torch.zeros(1)}, folder / "series" / "step_000010.safetensors"
    )
    found = run(folder)
    assert found.status[1] == "skipped"
    assert "loss at the given weights is inf" in found.reasons[1]


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_the_workers_do_not_change_a_bit(folder, kind):
    run(folder, "alone")
    torch.set_num_threads(1)
    if kind == "threads":
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            run(folder, executor=pool)
            assert pool.submit(int).result() == 0  # a given executor is left open
    else:
        run(folder, workers=2)
    assert results(folder) == results(folder, "alone")


def test_a_task_in_python(folder):
    model, data, loss = _task(folder, 0)
    found = slt.track(slt.Task(model, data, loss), folder / "series", folder / "run", progress=False, **QUICK)
    np.testing.assert_array_equal(found.llc, run(folder, "other").llc)


def test_two_at_once_are_refused(folder):
    from slt.series.folder import RunFolder

    with RunFolder(folder / "run").locked(), pytest.raises(slt.InputError, match="another slt track is at work"):
        run(folder)


def test_what_cannot_be_used(folder):
    with pytest.raises(slt.InputError, match="unknown setting 'stepsize'"):
        run(folder, stepsize=1.0)
    with pytest.raises(slt.InputError, match="workers must be"):
        run(folder, workers=0)
    (folder / "file").touch()
    with pytest.raises(slt.InputError, match="is a file"):
        run(folder, "file")
    with pytest.raises(slt.InputError, match="no such trajectory"):
        read_trajectory(folder / "nothing")
    (folder / "file.csv").write_text("a,b\n1,2\n")
    with pytest.raises(slt.InputError, match="is no trajectory"):
        read_trajectory(folder / "file.csv")


def command(name="run", *more):
    return ["track", "task.py", "series", "-o", name, "--chains", "4", "--draws", "60", *more]


def exit_code(monkeypatch, folder, arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["slt", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_the_command(folder, monkeypatch, capsys):
    assert exit_code(monkeypatch, folder, command()) == 0
    said = capsys.readouterr()
    assert "6 of 6 checkpoints have a number, at n = 60" in said.out
    assert said.err == ""
    files = {path.name for path in (folder / "run").iterdir()}
    assert files >= {"trajectory.csv", "trajectory.nc", "transitions.json", "series.json"}
    sick(folder)
    assert exit_code(monkeypatch, folder, command()) == 1
    said = capsys.readouterr()
    assert "3 of 7 checkpoints" in said.out
    assert len(said.err.splitlines()) == 4
    assert exit_code(monkeypatch, folder, ["track", "task.py", "nothing", "-o", "run"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "slt: nothing: no such folder; give the folder that holds the checkpoints of a series"
    ]


def shell(*arguments):
    return [sys.executable, "-m", "slt", *command(*arguments)]


def kill_at_random_moments(folder, kills, *more):
    """Each time some more checkpoints are finished, and a moment later."""
    subprocess.run(shell("whole", *more), cwd=folder, check=True, capture_output=True)
    chance, killed = random.Random(0), 0
    while killed < kills:
        process = subprocess.Popen(
            shell("run", *more), cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        finished = len(list(folder.glob("run/estimates/step*.nc")))
        wanted = finished + chance.randint(0, 2)
        while process.poll() is None and len(list(folder.glob("run/estimates/step*.nc"))) < wanted:
            time.sleep(0.005)
        if wanted == finished:
            time.sleep(chance.uniform(0, 3))  # while it starts up, or reads
        time.sleep(chance.uniform(0, 0.3))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        if finished >= len(STEPS) - 2:
            shutil.rmtree(folder / "run", ignore_errors=True)
    subprocess.run(shell("run", *more), cwd=folder, check=True, capture_output=True)
    assert results(folder) == results(folder, "whole")
    assert not [path for path in (folder / "run" / "estimates").iterdir() if path.name.startswith(".")]


def test_killed_three_times_the_bits_are_the_same(folder):
    kill_at_random_moments(folder, 3)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_twenty_times_the_bits_are_the_same(folder, workers):
    kill_at_random_moments(folder, 20, "--workers", workers)


def test_one_remedy_for_the_whole_series(folder):
    away = {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}  # far from the minimum
    save_file(away, folder / "series" / "step_000000.safetensors")
    remedied, plain = run(folder), run(folder, "plain", remedy="none")
    assert json.loads((folder / "run" / "series.json").read_text())["settings"]["remedy"] == "gradient-normal"
    assert json.loads((folder / "plain" / "series.json").read_text())["settings"]["remedy"] is None
    assert plain.llc[0] < 0 < remedied.llc[0]
    assert "gradient there" in slt.report.page.write_report(folder / "run").read_text()
    with pytest.raises(slt.InputError, match="remedy must be auto, none, gradient-normal or heat-capacity"):
        run(folder, "third", remedy="other")
