"""`estimate_llc`: what it leaves alone, what it repeats, and what it says when a run goes wrong."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import slt
import slt.diagnostics
from samplers.trace import Trace
from slt.llc.estimate import JSON_KEYS
from slt.settings import Settings

QUICK = {"chains": 4, "draws": 20, "progress": False}


def test_the_users_model_and_the_global_randomness_are_left_as_found(digits):
    model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 10))
    model.train()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    slt.estimate_llc(model, digits, sampler="sgld", **QUICK)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()][:2] == [False, True]
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_only_parameters_that_require_a_gradient_are_sampled(digits, digits_mlp):
    model = nn.Sequential(*(nn.Linear(64, 4), nn.Linear(4, 10)))
    model[0].requires_grad_(False)
    assert slt.estimate_llc(model, digits, **QUICK).dimension == 50
    model.requires_grad_(False)
    assert slt.estimate_llc(model, digits, **QUICK).dimension == 64 * 4 + 4 + 50


@pytest.mark.parametrize("sampler", ["hmc", "sgld", "sgld-cv"])
def test_a_seed_fixes_every_bit_and_another_seed_does_not(digits, digits_mlp, sampler):
    runs = [slt.estimate_llc(digits_mlp, digits, sampler=sampler, seed=seed, **QUICK) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0].trace.loss, runs[1].trace.loss)
    assert runs[0].llc == runs[1].llc != runs[2].llc


@pytest.mark.parametrize("sampler", ["sgld", "hmc"])
def test_vmapped_and_looped_chains_agree_to_rounding(digits, digits_mlp, sampler):
    knobs = {**QUICK, "sampler": sampler, "step_size": 1e-4, "preconditioner": "identity", "warmup": 0}
    vmapped, looped = (slt.estimate_llc(digits_mlp, digits, evaluation=e, **knobs) for e in ("vmap", "loop"))
    assert (vmapped.evaluation, looped.evaluation) == ("vmap", "loop")
    np.testing.assert_allclose(vmapped.trace.loss[:, :10], looped.trace.loss[:, :10], rtol=2e-4)


class NotVmappable(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        scale = 2.0 if self.linear.weight.sum().item() > 1e9 else 1.0  # .item() cannot be vmapped
        return self.linear(x) * scale


def test_a_model_that_cannot_be_vmapped_is_looped_and_says_so(digits):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NotVmappable()
    assert slt.estimate_llc(model, digits, **QUICK).evaluation == "loop"


def test_five_seeds_agree_within_their_errors(digits, digits_mlp):
    runs = [slt.estimate_llc(digits_mlp, digits, seed=seed, target_error=0.04) for seed in range(5)]
    assert all(run.status == "ok" for run in runs), [str(run) for run in runs]
    values, errors = np.array([run.llc for run in runs]), np.array([run.std_error for run in runs])
    mean = np.average(values, weights=errors**-2)
    chi2 = float((((values - mean) / errors) ** 2).sum())
    assert chi2 < 18.5  # 99.9% of chi² with 4 degrees of freedom


def test_samplers_agree_on_the_digits(digits, digits_mlp):
    runs = [
        slt.estimate_llc(digits_mlp, digits, sampler=name, target_error=0.03) for name in ("hmc", "mala", "sgld-cv")
    ]
    exact = runs[0]
    for other in runs[1:]:
        bias = 0.05 * exact.llc if other.sampler == "sgld-cv" else 0.0  # its step size may inflate by at most that
        assert abs(other.llc - exact.llc) < 4 * math.hypot(other.std_error, exact.std_error) + bias


class Ignores(nn.Module):
    """A loss that never changes: the weights are not used."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(5, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0 * self.w.sum()


@pytest.mark.parametrize("sampler", ["hmc", "mala", "sgld", "sgld-cv"])
def test_a_loss_that_never_changes_has_llc_zero_and_leaves_the_localizer_alone(sampler):
    x = torch.zeros(50, 1, dtype=torch.float64)
    estimate = slt.estimate_llc(Ignores(), (x, x + 1), slt.gaussian_loss(1.0), sampler=sampler, gamma=4.0, draws=800)
    assert estimate.llc == 0
    assert estimate.status == "ok"
    distance = estimate.trace.kept(
        "distance"
    )  # |w - w*|² of N(w*, I/γ) has mean d/γ, inflated by 1/(1 - εγ/4) for SGLD
    bias = 1 / (1 - estimate.step_size * 4.0 / 4) if "sgld" in sampler else 1.0
    summary = slt.diagnostics.summarize_mean(distance)
    assert abs(summary.mean - 5 / 4.0 * bias) < 4 * summary.std_error


@pytest.mark.parametrize("sampler", ["hmc", "sgld"])
def test_beta_zero_is_the_localizing_gaussian(quadratic, sampler):
    model, data, _ = quadratic
    run = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), sampler=sampler, beta=0.0, gamma=10.0, draws=1500)
    assert run.llc == 0
    bias = 1 / (1 - run.step_size * 10.0 / 4) if sampler == "sgld" else 1.0
    summary = slt.diagnostics.summarize_mean(run.trace.kept("distance"))
    assert abs(summary.mean - 4 / 10.0 * bias) < 4 * summary.std_error


def test_an_unstable_step_is_reported_chain_by_chain_never_averaged(quadratic):
    model, data, _ = quadratic
    run = slt.estimate_llc(
        model,
        data,
        slt.gaussian_loss(1.0),
        sampler="sgld",
        preconditioner="identity",
        step_size=1e3,
        draws=600,
        gamma=10.0,
    )
    assert run.status == "failed"
    assert "non-finite" in run.reasons[0]
    assert math.isnan(run.llc)
    assert json.loads(run.to_json())["llc"] is None


def test_weights_that_are_no_minimum_fail_with_the_reason(digits):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    run = slt.estimate_llc(untrained, digits)
    assert run.status == "failed"
    assert "not a local minimum" in " ".join(run.reasons)


def test_too_few_draws_are_said(digits, digits_mlp):
    run = slt.estimate_llc(digits_mlp, digits, chains=1, draws=6)
    assert run.status != "ok"
    assert "single chain" in " ".join(run.reasons)
    assert "ESS" in " ".join(run.reasons)


def test_the_budget_is_kept_and_named(digits, digits_mlp):
    run = slt.estimate_llc(digits_mlp, digits, target_error=0.001, max_steps=600)
    assert run.gradients <= 700
    assert run.status == "warning"
    assert "max_steps = 600" in " ".join(run.reasons)


def test_result_prints_and_serializes(digits, digits_mlp, tmp_path):
    run = slt.estimate_llc(digits_mlp, digits, **QUICK)
    assert str(run).startswith("llc = ")
    assert "gamma" in str(run).splitlines()[0]
    values = json.loads(run.to_json())
    assert list(values) == list(JSON_KEYS)
    run.trace.save(tmp_path / "trace.nc")
    read = Trace.load(tmp_path / "trace.nc")
    assert np.array_equal(read.loss, run.trace.loss)
    assert (read.warmup, read.attributes["n"]) == (run.trace.warmup, run.n)


def test_numbers_of_numpy_are_numbers():
    settings = Settings(gamma=np.float32(5.0), beta=np.float64(1.0), chains=np.int64(4), seed=np.int32(3))
    found = (settings.gamma, settings.beta, settings.chains, settings.seed)
    assert found == (5.0, 1.0, 4, 3)
    assert [type(value) for value in found] == [float, float, int, int]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"chains": 0}, "chains must be"),
        ({"draws": 1}, "draws must be"),
        ({"seed": None}, "seed must be"),
        ({"memory": None}, "memory must be"),
        ({"gamma": -1.0}, "gamma must be positive"),
        ({"gamma": "5"}, "gamma must be positive"),
        ({"beta": "1"}, "beta must be at least 0"),
        ({"beta": -0.1}, "beta must be"),
        ({"step_size": math.nan}, "step_size must be"),
        ({"sampler": "magic"}, "sampler must be one of"),
        ({"preconditioner": "magic"}, "preconditioner must be one of"),
        ({"batch_size": 5000, "sampler": "sgld"}, "batch_size must lie between"),
        ({"batch_size": 100, "sampler": "hmc"}, "needs the full data"),
        ({"dtype": torch.float16}, "half precision"),
        ({"dtype": "int8"}, "dtype must be"),
        ({"device": "nonsense"}, "cannot be used"),
        ({"knob": 1}, "unknown setting 'knob'"),
    ],
)
def test_bad_knobs(digits, digits_mlp, knobs, words):
    with pytest.raises(slt.InputError, match=words):
        slt.estimate_llc(digits_mlp, digits, **knobs)
