"""Step size, localization and temperature conventions, all at once, against the closed form with its step-size bias."""

import json
import subprocess
import sys

import pytest
import torch

import slt
from slt.linearized import Linearized, gauss_newton_eigenvalues, quadratic_llc

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


@pytest.mark.parametrize("step_size", [1e-3, 1e-2, 2e-2])
def test_langevin_steps_have_the_stationary_law_of_theory(quadratic, step_size):
    model, data, curvature = quadratic
    estimate = slt.estimate_llc(
        model, data, slt.gaussian_loss(1.0), sampler="sgld", preconditioner="identity", batch_size=200,
        step_size=step_size, gamma=10.0, chains=64, warmup=300, draws=2000, extrapolate=False,
    )  # fmt: skip
    exact = quadratic_llc(curvature, estimate.n * estimate.beta, 10.0, step_size)
    assert estimate.chains * estimate.draws >= 1e5
    assert abs(estimate.llc - exact) / estimate.std_error < 4
    assert estimate.std_error / exact < 0.05  # sharp enough to tell: at 2e-2 the bias is +50%


@pytest.mark.parametrize("sampler", ["hmc", "mala"])
def test_corrected_samplers_have_no_step_size_bias(quadratic, sampler):
    model, data, curvature = quadratic
    estimate = slt.estimate_llc(
        model,
        data,
        slt.gaussian_loss(1.0),
        sampler=sampler,
        step_size=1e-2,
        gamma=10.0,
        chains=64,
        warmup=50,
        draws=500,
    )
    exact = quadratic_llc(curvature, estimate.n * estimate.beta, 10.0)
    assert abs(estimate.llc - exact) / estimate.std_error < 4
    assert estimate.std_error / exact < 0.02


def test_the_same_through_the_command_line(tmp_path, quadratic):
    _, _, curvature = quadratic
    (tmp_path / "task.py").write_text(TASK)
    torch.save({"w": torch.zeros(4, dtype=torch.float64)}, tmp_path / "w.pt")
    knobs = "--sampler sgld --preconditioner identity --batch-size 200 --step-size 0.02 --gamma 10 --chains 64"
    command = [
        sys.executable,
        "-m",
        "slt",
        "estimate",
        "task.py",
        "w.pt",
        "--json",
        "--warmup",
        "300",
        "--draws",
        "2000",
        "--no-extrapolate",
    ]
    done = subprocess.run([*command, *knobs.split()], cwd=tmp_path, capture_output=True, text=True, check=True)
    estimate = json.loads(done.stdout)
    exact = quadratic_llc(curvature, estimate["n"] * estimate["beta"], 10.0, 0.02)
    assert abs(estimate["llc"] - exact) / estimate["std_error"] < 4


def test_minibatches_of_identical_samples_change_nothing(quadratic):
    model, data, curvature = quadratic
    estimate = slt.estimate_llc(
        model, data, slt.gaussian_loss(1.0), sampler="sgld", preconditioner="identity", batch_size=10,
        step_size=1e-2, gamma=10.0, chains=32, warmup=300, draws=1500, extrapolate=False,
    )  # fmt: skip
    exact = quadratic_llc(curvature, estimate.n * estimate.beta, 10.0, 1e-2)
    assert abs(estimate.llc - exact) / estimate.std_error < 4


@pytest.mark.parametrize("sampler", ["auto", "sgld-cv"])
def test_linearized_digits_network_has_its_closed_form(digits, digits_mlp, sampler):
    inputs = digits[0][:400]
    model = Linearized(digits_mlp)
    targets = model(inputs).detach()
    estimate = slt.estimate_llc(
        model, (inputs, targets), slt.gaussian_loss(1.0), sampler=sampler, target_error=0.008, max_steps=6000
    )
    curvature = gauss_newton_eigenvalues(digits_mlp, inputs)
    exact = quadratic_llc(curvature, estimate.n * estimate.beta, estimate.gamma)
    assert estimate.llc == pytest.approx(exact, rel=0.03)
