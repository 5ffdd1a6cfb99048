"""Interrupted runs: killed at random moments they go on, and end with the bits of a run that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import slt
from samplers.constraints import Mask
from samplers.hmc import HMC
from samplers.noise import ChainNoise
from samplers.preconditioner import Diagonal
from samplers.resume import fingerprint, pack, unpack
from samplers.sgld import SGLD
from samplers.warmup import SETTLING
from slt.llc import recording

KNOBS = {"chains": 3, "gamma": 10.0, "progress": False}


def estimate(quadratic, **knobs):
    model, data, _ = quadratic
    return slt.estimate_llc(model, data, slt.gaussian_loss(1.0), **{**KNOBS, **knobs})


class Interrupted(Exception):
    pass


def interrupted_at(monkeypatch, step: int, run):
    """Run until the given step of the recorded run, as if killed there."""
    original = recording.Run.step

    def limited(self):
        if self.steps >= step:
            raise Interrupted
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(recording.Run, "step", limited)
        with pytest.raises(Interrupted):
            run()


@pytest.mark.parametrize("sampler", ["hmc", "mala", "sgld", "sgld-cv"])
@pytest.mark.parametrize("evaluation", ["vmap", "loop"])
def test_a_resumed_run_ends_with_the_same_bits(quadratic, tmp_path, monkeypatch, sampler, evaluation):
    knobs = {"sampler": sampler, "draws": 1600 if "sgld" in sampler else 120, "evaluation": evaluation}
    if "sgld" in sampler:
        knobs["batch_size"] = 30
    whole = estimate(quadratic, **knobs)
    path = tmp_path / "run.pt"
    monkeypatch.setattr(recording, "SAVE_SECONDS", 0.0)
    for step in (1000, 1200) if "sgld" in sampler else (75, 110):
        interrupted_at(monkeypatch, step, lambda: estimate(quadratic, resume=path, **knobs))
    resumed = estimate(quadratic, resume=path, **knobs)
    for name in ("loss", "center_loss", "distance", "acceptance"):
        np.testing.assert_array_equal(getattr(resumed.trace, name), getattr(whole.trace, name))
    assert (resumed.llc, resumed.std_error, resumed.gradients) == (whole.llc, whole.std_error, whole.gradients)
    again = estimate(quadratic, resume=path, **knobs)  # a finished run is read, not run again
    assert again.llc == whole.llc


@pytest.mark.slow
def test_a_compiled_run_resumes_with_the_same_bits(quadratic, tmp_path, monkeypatch):
    knobs = {"sampler": "sgld-cv", "draws": 1600, "evaluation": "compile", "batch_size": 30}
    whole = estimate(quadratic, **knobs)
    assert whole.evaluation == "vmap+compile"
    path = tmp_path / "run.pt"
    interrupted_at(monkeypatch, 1200, lambda: estimate(quadratic, resume=path, **knobs))
    np.testing.assert_array_equal(estimate(quadratic, resume=path, **knobs).trace.loss, whole.trace.loss)


def test_a_run_stops_where_it_would_have_stopped(quadratic, tmp_path, monkeypatch):
    knobs = {"target_error": 0.02, "sampler": "hmc"}
    whole = estimate(quadratic, **knobs)
    path = tmp_path / "run.pt"
    monkeypatch.setattr(recording, "SAVE_SECONDS", 0.0)
    interrupted_at(monkeypatch, 190, lambda: estimate(quadratic, resume=path, **knobs))
    resumed = estimate(quadratic, resume=path, **knobs)
    assert resumed.trace.loss.shape == whole.trace.loss.shape
    assert resumed.llc == whole.llc


def test_a_composed_kernel_resumes(quadratic, tmp_path, monkeypatch):
    def knobs():
        keep = torch.tensor([True, True, False, True])
        return {"sampler": SGLD(1e-3, constraint=Mask(keep)), "draws": 700, "batch_size": 20}

    whole = estimate(quadratic, **knobs())
    path = tmp_path / "run.pt"
    interrupted_at(monkeypatch, 600, lambda: estimate(quadratic, resume=path, **knobs()))
    resumed = estimate(quadratic, resume=path, **knobs())
    np.testing.assert_array_equal(resumed.trace.loss, whole.trace.loss)
    with pytest.raises(slt.InputError, match="another setting sampler"):
        estimate(quadratic, resume=path, **{**knobs(), "sampler": SGLD(1e-3)})


def test_a_file_of_another_run_is_refused(quadratic, tmp_path):
    path = tmp_path / "run.pt"
    model, (x, y), _ = quadratic
    knobs = {"draws": 30, "sampler": "hmc", "resume": path}
    estimate(quadratic, **knobs)
    for other, words in (({"gamma": 11.0}, "gamma"), ({"seed": 1}, "seed"), ({"sampler": "mala"}, "sampler")):
        with pytest.raises(slt.InputError, match=f"made with another setting {words}; give another path or remove it"):
            estimate(quadratic, **{**knobs, **other})
    with pytest.raises(slt.InputError, match="made with another data"):
        slt.estimate_llc(model, (x * 1.5, y), slt.gaussian_loss(1.0), **{**KNOBS, **knobs})
    with pytest.raises(slt.InputError, match="another model or loss"):
        slt.estimate_llc(model, (x, y), lambda output, target: 1 + output.square().sum(1), **{**KNOBS, **knobs})
    with pytest.raises(slt.InputError, match="another model or loss"):  # the same at w*, where both are 0
        slt.estimate_llc(model, (x, y), slt.gaussian_loss(0.5), **{**KNOBS, **knobs})
    moved = type(model)(4)
    with torch.no_grad():
        moved.w += 1e-3
    with pytest.raises(slt.InputError, match="another weights"):
        slt.estimate_llc(moved, (x, y), slt.gaussian_loss(1.0), **{**KNOBS, **knobs})
    longer = estimate(quadratic, **{**knobs, "draws": 60})  # when to stop may change
    assert longer.draws + longer.warmup >= 60


@pytest.mark.parametrize("content", [b"", b"not a run file", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_run_file_is_refused(quadratic, tmp_path, content):
    path = tmp_path / "run.pt"
    path.write_bytes(content)
    with pytest.raises(slt.InputError, match="is not a run file"):
        estimate(quadratic, resume=path)
    torch.save({"w": torch.ones(3)}, path)
    with pytest.raises(slt.InputError, match="is not a run file"):
        estimate(quadratic, resume=path)


@pytest.mark.parametrize("change", [{"key": None}, {"run": {}}, {"trace": {"loss": 3}}, {"losses": ["x"]}])
def test_a_damaged_run_file_is_refused(quadratic, tmp_path, change):
    path = tmp_path / "run.pt"
    estimate(quadratic, draws=30, sampler="hmc", resume=path)
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(slt.InputError, match=r"is damaged|is not a run file"):
        estimate(quadratic, draws=30, sampler="hmc", resume=path)


def test_kernels_survive_packing():
    kernel = HMC(torch.tensor([0.1, 0.2]), 3, Diagonal(torch.tensor([1.0, 4.0, 9.0])), caution=0.2)
    again = unpack(pack(kernel))
    assert isinstance(again, HMC)
    assert torch.equal(again.step_size, kernel.step_size)
    assert torch.equal(again.preconditioner.scale, kernel.preconditioner.scale)
    assert (again.leapfrog_steps, again.jitter, again.caution) == (3, 0.2, 0.2)
    with pytest.raises(slt.InputError, match="cannot be saved"):
        pack(SGLD(0.1, constraint=Mask(torch.tensor([True]))))


def test_fingerprints_tell_values_apart():
    a = {"x": torch.arange(3.0), "y": [1, 2.0, None]}
    assert fingerprint(a) == fingerprint({"y": [1, 2.0, None], "x": torch.arange(3.0)})
    others = ({**a, "y": [1, 2, None]}, {**a, "x": torch.arange(3.0).double()}, {**a, "x": torch.arange(3.0) + 1e-7})
    assert len({fingerprint(other) for other in (a, *others)}) == 4


@pytest.mark.parametrize("size", [5, 300, 40_000])
def test_noise_goes_on_bit_for_bit_and_does_not_depend_on_the_grouping(size):
    like = torch.empty(6, size)
    whole, first, second = ChainNoise(7, 6), ChainNoise(7, [0, 1]), ChainNoise(7, [2, 3, 4, 5])
    for _ in range(5):
        normal, uniform = whole.normal(like), whole.uniform()
        assert torch.equal(normal, torch.cat([first.normal(like[:2]), second.normal(like[2:])]))
        assert torch.equal(uniform, torch.cat([first.uniform(), second.uniform()]))
        normal.mul_(0)  # the caller's to overwrite
    for scale in (0.3, torch.linspace(0.1, 0.6, 6)[:, None]):
        x, y = torch.ones(6, size), torch.ones(6, size)
        one, parts = ChainNoise(1, 6), ChainNoise(1, 6)
        for _ in range(3):
            expected = (
                x.addcmul_(one.normal(x), scale)
                if isinstance(scale, torch.Tensor)
                else x.add_(one.normal(x), alpha=scale)
            )
            assert torch.equal(parts.add_normal(y, scale), expected)
    state = whole.state()
    expected = [(whole.normal(like).clone(), whole.uniform().clone()) for _ in range(70 if size < 1000 else 3)]
    fresh = ChainNoise(0, 6)
    fresh.restore(state)
    for normal, uniform in expected:
        assert torch.equal(fresh.normal(like), normal)
        assert torch.equal(fresh.uniform(), uniform)


TASK = """
import torch
from torch import nn

class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, x):
        return x * self.w

def model():
    return Point()

def data():
    x = torch.tensor([1.0, 0.3, 0.1, 0.0], dtype=torch.float64).sqrt().expand(200, -1).contiguous()
    return x, torch.zeros_like(x)

def loss(output, target):
    return 0.5 * (output - target).square().sum(1)
"""


def killed_again_and_again(tmp_path, kills: int, seed: int) -> None:
    """kill -9 at random moments of the recorded run, each time resuming: the trace has the bits of an unkilled run."""
    (tmp_path / "task.py").write_text(TASK)
    torch.save({"w": torch.zeros(4, dtype=torch.float64)}, tmp_path / "w.pt")
    command = [sys.executable, "-m", "slt", "estimate", "task.py", "w.pt", "--json", "--sampler", "sgld-cv"]
    command += ["--batch-size", "20", "--gamma", "10", "--chains", "4", "--draws", str(2500 * kills)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*more: str) -> subprocess.Popen:
        return subprocess.Popen([*command, *more], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)

    moments = random.Random(seed)
    saved = tmp_path / "run.pt"
    done = 0
    while done < kills:
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        process = run("--resume", "run.pt", "--save", "resumed.nc")
        while process.poll() is None and (saved.stat().st_mtime_ns if saved.exists() else 0) == before:
            time.sleep(0.01)  # until it has got further than the last time
        time.sleep(moments.uniform(0.0, 0.4))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        done += 1
    assert done == kills, "the run ended before it could be killed as often as wanted: ask for more draws"
    assert run("--resume", "run.pt", "--save", "resumed.nc").wait() == 0
    task = slt.load_task(tmp_path / "task.py")
    knobs = {"sampler": "sgld-cv", "batch_size": 20, "gamma": 10.0, "chains": 4, "draws": 2500 * kills}
    a = slt.estimate_llc(task.model, task.data, task.loss, progress=False, **knobs).trace
    b = slt.Trace.load(tmp_path / "resumed.nc")
    assert a.loss.shape[1] == SETTLING + 2500 * kills
    for name in ("loss", "center_loss", "distance"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_killed_twice(tmp_path):
    killed_again_and_again(tmp_path, 2, seed=0)


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path):
    killed_again_and_again(tmp_path, 10, seed=1)
