"""Local free energies: the methods on draws of a known law, the estimate where there are exact answers."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

import slt
from samplers.errors import InputError
from samplers.ladder_trace import LadderTrace
from slt import zoo
from slt.cli import app
from slt.diagnostics import summarize_mean
from slt.free_energies.estimate import FreeEnergyEstimate
from slt.free_energies.local import free_energy_of_potential
from slt.free_energies.methods import HUGE, METHODS, excess, mbar, stepping_stone, thermodynamic_integration
from slt.free_energies.pymbar_reference import check_with_pymbar, mbar_by_pymbar
from slt.free_energies.temperature_curve import curve_of, find_plateau, regress
from slt.free_energies.verdict import judge_ladder, read_methods, regression_reasons
from slt.linearized import Linearized, gauss_newton_eigenvalues

BETA = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 14)])


def exact_draws(dimension: int, n: float, seed: int, replicas: int = 4, draws: int = 200) -> np.ndarray:
    """V = n ½ |w|² at every rung, w ~ N(0, 1/(nβ + 1)): independent draws (replica, draw, rung)."""
    generator = np.random.default_rng(seed)
    square = generator.chisquare(dimension, (replicas, draws, len(BETA)))
    return 0.5 * n * square / (n * BETA + 1)


def exact_free_energy(dimension: int, n: float) -> np.ndarray:
    return 0.5 * dimension * np.log1p(n * BETA)


@pytest.mark.parametrize(("excess_of_center", "said"), [(0.0, False), (4.0, True), (-4.0, False)])
def test_a_loss_at_w_star_above_the_lowest_is_told_by_the_regression(excess_of_center, said):
    """V less a constant: the slope of E[nL] on 1/β stays, the paired mean falls by β times the constant."""
    v = exact_draws(6, 1e5, seed=0, draws=2000) - excess_of_center
    curve = curve_of(v, BETA, mbar(v, BETA))
    regression = regress(curve, v, 0.3, 0.0)
    assert regression is not None
    assert abs(regression.llc - 3.0) < 4 * regression.std_error
    assert bool(regression_reasons(regression, curve, 0.3)) is said
    assert regression_reasons(None, curve, 0.3) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_ladder_of_one_rung_above_zero(method):
    v = exact_draws(5, 1.0, 0, draws=2000)[..., [0, 14]]
    found = method(v, BETA[[0, 14]])
    error = summarize_mean(found.value[-1] + found.influence[..., -1]).std_error
    assert error > 0
    assert abs(found.value[-1] - exact_free_energy(5, 1.0)[14]) < 4 * error


@pytest.mark.parametrize("method", METHODS)
def test_a_method_on_exact_draws_has_the_value_and_the_error_it_says(method):
    exact = exact_free_energy(5, 1000.0)
    runs = [method(exact_draws(5, 1000.0, seed), BETA) for seed in range(60)]
    values = np.array([run.value for run in runs])
    assert (values[:, 0] == 0).all()
    summaries = [summarize_mean(run.value[-1] + run.influence[..., -1]) for run in runs]
    errors = np.array([math.hypot(s.std_error, r.discretization[-1]) for s, r in zip(summaries, runs, strict=True)])
    z = (values[:, -1] - exact[-1]) / errors
    assert np.abs(z).max() < 4
    # Across runs the values scatter as the errors say: the mean square of 60 z-scores is 1 ± 0.18.
    assert 0.4 < np.mean(z**2) < 1.7
    assert abs(np.mean(z)) < 4 / math.sqrt(60)
    for k in range(1, len(BETA)):
        spread = values[:, k].std() / math.sqrt(60)
        assert abs(values[:, k].mean() - exact[k]) < 4 * spread + runs[0].discretization[k]


def test_the_influence_predicts_what_a_change_of_the_draws_does():
    """Leaving out one replica moves F by minus the mean influence of it, to first order."""
    v = exact_draws(5, 1000.0, 0, replicas=40)
    for method in METHODS:
        whole = method(v, BETA)
        assert np.abs(whole.influence.mean((0, 1))).max() < 1e-9
        without = method(v[1:], BETA)
        predicted = -whole.influence[0].mean(0) / 39
        np.testing.assert_allclose(without.value - whole.value, predicted, rtol=0.1, atol=5e-5)


def test_mbar_solves_its_equations_as_pymbar_does():
    pytest.importorskip("pymbar")
    v = exact_draws(3, 200.0, 0, replicas=2, draws=100)
    theirs, their_error = mbar_by_pymbar(v, BETA)
    np.testing.assert_allclose(mbar(v, BETA).value, theirs, atol=1e-6)
    # Independent draws: the error of the estimating equations is pymbar's.
    ours = mbar(v, BETA).influence[..., -1].std() / math.sqrt(200)
    assert abs(ours / their_error[-1] - 1) < 0.1


def test_pymbar_on_the_draws_of_an_estimate():
    pytest.importorskip("pymbar")
    model = zoo.get("crossing-2-2")
    run = free_energy_of_potential(model.potential, model.center, 1000, gamma=1.0, draws=100, progress=False)
    value, error = check_with_pymbar(run)
    assert value == pytest.approx(run.free_energy, abs=1e-6)
    assert 0.5 < error / run.methods["MBAR"][1] < 2
    with pytest.raises(InputError, match="no trace"):
        check_with_pymbar(replace(run, trace=None))


def test_a_missing_pymbar_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymbar", None)
    with pytest.raises(InputError, match=r"slt-toolkit\[mbar\]"):
        mbar_by_pymbar(exact_draws(1, 10.0, 0, replicas=1, draws=10), BETA)


def test_a_loss_that_never_changes_is_integrated_exactly():
    v = np.full((2, 50, len(BETA)), 7.0)
    for method in METHODS:
        answer = method(v, BETA)
        assert (np.abs(answer.value - 7 * BETA) <= 1.2 * answer.discretization + 1e-12).all()
        assert answer.discretization.max() < 2e-3
        assert np.abs(answer.influence).max() < 1e-12


def test_losses_that_overflow_at_the_bottom_weigh_nothing():
    v = exact_draws(2, 50.0, 0)
    v[0, :20, 0] = excess(np.array([math.inf]), 0.0, 50.0)[0]
    lost = 20 / (v.shape[0] * v.shape[1])
    shift = -math.log(1 - lost)  # a share of the prior that the posterior never visits
    for method in METHODS:
        answer = method(v, BETA)
        assert np.isfinite(answer.value).all()
        assert abs(answer.value[-1] - exact_free_energy(2, 50.0)[-1] - shift) < 0.2
    assert excess(np.array([math.nan, math.inf, 1.0]), 0.0, 2.0).tolist() == [HUGE, HUGE, 2.0]


@pytest.mark.parametrize("name", ["quadratic-10-ill", "crossing-2-2", "crossing-4-4", "reduced-rank-2-2-2-r0"])
def test_potentials_against_quadrature(name):
    model, n = zoo.get(name), 10_000
    run = free_energy_of_potential(model.potential, model.center, n, gamma=1.0, target_error=0.01, progress=False)
    assert run.status == "ok", str(run)
    exact = model.free_energy(n)
    for value, error in run.methods.values():
        assert abs(value - exact) < 4 * error
    assert run.std_error <= max(0.05, 0.01 * exact) * 1.3
    times = n * run.curve.beta
    assert (np.abs(run.curve.free_energy - model.free_energy(times)) < 4 * run.curve.free_energy_error).all()
    assert (np.abs(run.curve.llc - model.mean_potential(times)) < 4 * run.curve.llc_error).all()
    assert abs(run.wbic - model.mean_potential(n * run.wbic_beta) / run.wbic_beta) < 4 * run.wbic_error
    assert run.round_trips > 0 or model.dimension == 10


def test_a_linearized_network_against_the_closed_form(digits, digits_mlp):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 10)).double()
    inputs = digits[0][:150].double()
    model = Linearized(network)
    with torch.no_grad():
        targets = model(inputs)
    run = slt.free_energy(
        model, (inputs, targets), slt.gaussian_loss(1.0), gamma=20.0, beta=0.2, chains=4, draws=120, progress=False
    )
    n_beta = run.n * run.beta
    exact = 0.5 * float(torch.log1p(n_beta * gauss_newton_eigenvalues(network, inputs) / 20.0).sum())
    assert exact > 10
    assert run.std_error < 0.05 + 0.01 * exact
    assert abs(run.free_energy - exact) < 4 * run.std_error
    assert run.center_loss == 0
    assert (run.dimension, run.gamma, run.evaluation) == (235, 20.0, "vmap")


def test_an_offset_of_the_loss_is_found_without_being_told():
    """E[nL] on 1/β: slope λ, intercept n L*; and L* enters the region's free energy, the constant loss nothing else."""
    h = torch.tensor([2.0, 5.0, 9.0], dtype=torch.float64)
    knobs = {"gamma": 1.0, "progress": False, "seed": 2}
    n = 20_000
    plain, raised = (
        free_energy_of_potential(lambda w, c=c: 0.5 * (h * w.square()).sum(-1) + c, [0.0] * 3, n, **knobs)
        for c in (0.0, 3.0)
    )
    error = math.hypot(raised.std_error, plain.std_error)
    assert abs(raised.free_energy - plain.free_energy) < 4 * error
    assert abs(raised.total - plain.total - 3.0 * n) < 4 * error
    assert abs(raised.regression.llc - 1.5) < 4 * raised.regression.std_error
    assert abs(raised.regression.center_energy - 3 * n) < 20
    assert abs(raised.terms.total - raised.total) < 1e-6
    assert raised.plateau is not None
    assert abs(raised.plateau.llc - 1.5) < 4 * raised.plateau.std_error + 0.02
    assert raised.terms.source == "the plateau"


def test_no_plateau_where_the_curve_never_flattens():
    h = np.geomspace(1e-9, 1e-3, 60)
    v, beta, f = curve_inputs(h)
    curve = curve_of(v, beta, f)
    assert find_plateau(curve, v) is None
    # The slope of E[nL] over 1/β is then the heat capacity, not λ̂.
    slope = regress(curve, v, around=1e-1, center_energy=0.0)
    growth = 1e5 * h
    llc, heat = (float((0.5 * (growth / (1 + growth)) ** power).sum()) for power in (1, 2))
    assert llc - heat > 8 * slope.std_error
    assert abs(slope.llc - heat) < 4 * slope.std_error + 0.05 * heat  # the rungs span a factor of 4 in β


def curve_inputs(h: np.ndarray):
    """Independent draws of V for curvatures h at 30 rungs, n = 1e6, γ = 1."""
    beta, generator = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 29)]), np.random.default_rng(0)
    a = 1e6 * beta[:, None] * h + 1
    v = 0.5 * 1e6 * (generator.chisquare(1, (4, 100, 30, len(h))) * h / a).sum(-1)
    return v, beta, stepping_stone(v, beta)


def trace_of(v: np.ndarray, beta: np.ndarray, **changes) -> LadderTrace:
    rungs = len(beta) - 1
    parts = {
        "loss": v, "distance": v, "beta": beta, "acceptance": np.full(rungs, 0.8), "rejection": np.full(rungs, 0.4),
        "step_size": np.ones(rungs), "round_trips": np.ones(len(v), dtype=int),
    }  # fmt: skip
    return LadderTrace(**{**parts, **changes})


def judged(v: np.ndarray, **changes):
    answers = [method(v, BETA) for method in (mbar, thermodynamic_integration, stepping_stone)]
    return judge_ladder(trace_of(v, BETA, **changes), v, read_methods(answers), wanted=0.5, stopped=None)


def test_verdicts_name_what_is_wrong():
    good = exact_draws(5, 1000.0, 0)
    assert judged(good) == ("ok", [])
    apart = good.copy()
    apart[0, :, -3:] *= 8
    status, reasons = judged(apart)
    assert status != "ok"
    assert "disagree" in " ".join(reasons)
    status, reasons = judged(good[:1])
    assert (status, "single replica" in reasons[0]) == ("warning", True)
    status, reasons = judged(good, rejection=np.full(14, 0.95))
    assert (status, "are refused" in reasons[0]) == ("warning", True)
    # Rungs drawn at another temperature than they claim: the methods contradict each other.
    wrong = good.copy()
    wrong[..., 7] *= 3
    assert any("differ by" in reason for reason in judged(wrong)[1])
    below = good - 0.01 * 1000 * BETA
    assert any("not a local minimum" in reason for reason in judged(below)[1])


def test_a_budget_that_ends_the_run_is_named():
    model = zoo.get("quadratic-10-ill")
    run = free_energy_of_potential(model.potential, model.center, 1000, gamma=1.0, target_error=1e-3, max_steps=2500)
    assert run.status == "warning"
    assert "max_steps = 2500" in " ".join(run.reasons)
    assert run.gradients <= 2600


def test_the_estimate_prints_and_survives_the_disk(tmp_path):
    model = zoo.get("crossing-2-2")
    run = free_energy_of_potential(
        model.potential, model.center, 1000, gamma=1.0, draws=40, multiplicity=2, progress=False
    )
    text = str(run)
    for words in ("free energy F = ", "WBIC", "regression", "log log", "stepping stone", "MBAR"):
        assert words in text
    assert run.terms.multiplicity == 2
    assert abs(run.terms.total - run.total) < 1e-9
    for name in ("f.json", "f.nc"):
        run.save(tmp_path / name)
        assert FreeEnergyEstimate.load(tmp_path / name).to_json() == run.to_json()
    read = FreeEnergyEstimate.load(tmp_path / "f.nc")
    assert np.array_equal(read.trace.loss, run.trace.loss)
    assert json.loads(run.to_json())["curve"]["beta"][-1] == 1.0
    (tmp_path / "other.json").write_text('{"kind": "llc"}')
    for name in ("other.json", "absent.json"):
        with pytest.raises(slt.InputError, match=name):
            FreeEnergyEstimate.load(tmp_path / name)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"sampler": "sgld"}, "'hmc' or 'mala'"),
        ({"preconditioner": "diagonal"}, "without a preconditioner"),
        ({"beta": 0.0}, "beta must be positive"),
        ({"batch_size": 10}, "full data"),
        ({"multiplicity": 0}, "multiplicity must be"),
        ({"knob": 1}, "unknown setting 'knob'"),
    ],
)
def test_bad_knobs(quadratic, knobs, words):
    model, data, _ = quadratic
    with pytest.raises(slt.InputError, match=words):
        slt.free_energy(model, data, slt.gaussian_loss(1.0), **knobs)


TASK = """
import torch
from torch import nn

class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x):
        return x * self.w

def model():
    return Point()

def data():
    x = torch.ones(100, 2, dtype=torch.float64)
    return x, torch.zeros_like(x)

def loss(output, target):
    return 0.5 * (output - target).square().sum(1)
"""


def test_through_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(TASK)
    for name, at in (("a", 0.0), ("b", 0.5)):
        torch.save({"w": torch.full((2,), at, dtype=torch.float64)}, tmp_path / f"{name}.pt")

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, words)

    exact = math.log1p(100.0 / 4.0)  # 2 · ½ log(1 + nβ h/γ)
    result = command("estimate", "task.py", "a.pt", "--ladder", "--json", "--gamma", "4", "--save", "a.json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert abs(values["free_energy"] - exact) < 4 * values["std_error"]
    assert command("estimate", "task.py", "b.pt", "--ladder", "--gamma", "4", "--save", "b.nc").exit_code == 0
    with_m = command("estimate", "task.py", "b.pt", "--ladder", "--gamma", "4", "--multiplicity", "2")
    assert "m = 2" in with_m.stdout
    assert "belongs to --ladder" in str(command("estimate", "task.py", "b.pt", "--multiplicity", "2").exception)
    compared = json.loads(command("compare", "a.json", "b.nc", "--json").stdout)
    # The prior N(0.5, I/4) pays ½ · nγ/(n + γ) · |0.5|² over both weights.
    assert abs(compared["pairs"][0]["difference"] - 0.5 * 100 * 4 / 104 * 0.5) < 4 * compared["pairs"][0]["std_error"]
    assert compared["labels"] == ["a.json", "b.nc"]
    assert "preferred at n = 100" in command("compare", "a.json", "b.nc").stdout
    refused = command("estimate", "task.py", "a.pt", "--ladder", "--plot", "x.png")
    assert "leave them out" in str(refused.exception)
    assert "at least two" in str(command("compare", "a.json").exception)


def test_a_loss_that_is_nowhere_finite_is_refused():
    with pytest.raises(slt.InputError, match="larger gamma"):
        free_energy_of_potential(
            lambda w: torch.where(w.square().sum(-1) > 0, math.inf, 0.0) + w.sum(-1),
            torch.zeros(2, dtype=torch.float64),
            100,
            gamma=1.0,
        )
