"""The digits example: the run that `make demo` starts, and what a learning coefficient asks of its last checkpoint."""

import math
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from slt.checkpoints import checkpoint_step, load_checkpoint

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a default run, started as a script."""
    output = tmp_path_factory.mktemp("runs") / "digits"
    command = [sys.executable, str(EXAMPLE / "train.py"), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def train(monkeypatch):
    """The script's `train(output, seed, last)`; the tests' own random state and threads are left alone."""
    monkeypatch.syspath_prepend(EXAMPLE)
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield runpy.run_path(str(EXAMPLE / "train.py"))["train"]
    torch.set_num_threads(threads)
    del sys.modules["task"]


def test_the_series_has_60_checkpoints_and_nothing_else(trained):
    steps = [checkpoint_step(path) for path in sorted(trained.iterdir())]
    assert len(steps) == 60
    assert steps == sorted(set(steps))
    assert (trained / "step_000000.safetensors").exists()
    assert (trained / "step_010000.safetensors").exists()
    later = [step for step in steps if step > 50]
    ratios = [right / left for left, right in pairwise(later)]
    assert max(ratios) / min(ratios) < 1.05


def test_the_last_checkpoint_is_as_good_as_a_minimum(trained):
    """Small loss and gradient g: neither the descent left, n beta L, nor the drift it drives moves the estimate.

    With localization gamma the drift lowers it by (n beta)^2 |g|^2 / gamma at most, to first order.
    """
    task = runpy.run_path(str(EXAMPLE / "task.py"))
    network, (x, y) = task["model"](), task["data"]()
    assert (x.shape, y.shape, y.dtype) == ((1797, 64), (1797,), torch.long)
    assert (x.min(), x.max()) == (0, 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == 2410
    load_checkpoint(network, trained / "step_010000.safetensors")
    network.double()
    output = network(x.double())
    loss = cross_entropy(output, y)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))])
    n_beta = len(x) / math.log(len(x))
    assert (output.argmax(1) == y).double().mean() >= 0.99
    assert n_beta * loss < 1.0
    assert n_beta**2 * gradient.square().sum() < 0.1  # gamma = 1


def test_the_same_seed_gives_the_same_bits(tmp_path, train):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(tmp_path / name, seed, 40)
    last = [(tmp_path / name / "step_000040.safetensors").read_bytes() for name in "abc"]
    assert last[0] == last[1] != last[2]
    assert len(list((tmp_path / "a").iterdir())) == 41  # every step, where there are fewer than 60


def test_another_runs_checkpoints_are_not_mixed_in(tmp_path, train):
    (tmp_path / "step_000007.safetensors").touch()
    with pytest.raises(SystemExit, match="another run"):
        train(tmp_path, 0, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000007.safetensors"]
