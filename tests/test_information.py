"""WAIC and its parts: against ArviZ, against closed forms, and the relations of λ and ν to the errors of learning."""

import arviz as az
import numpy as np
import pytest
import torch
from torch import nn

import slt
from benchmarks import generalization
from slt.diagnostics import summarize_mean
from slt.free_energies.information import information


def test_waic_is_that_of_arviz():
    losses = np.random.default_rng(0).gamma(2.0, 0.3, (4, 250, 80))
    ours = information(losses)
    data = az.from_dict(posterior={"w": np.zeros((4, 250))}, log_likelihood={"y": -losses})
    theirs = az.waic(data)
    assert abs(-ours.n * ours.waic - theirs.elpd_waic) < 1e-6
    assert abs(ours.functional_variance - theirs.p_waic) < 1e-6
    assert abs(ours.training_loss - ours.waic + ours.functional_variance / ours.n) < 1e-12
    assert ours.singular_fluctuation == ours.functional_variance / 2


def test_draws_that_never_change_have_no_fluctuation():
    losses = np.broadcast_to(np.linspace(0.1, 2.0, 30), (4, 10, 30))
    result = information(losses, beta=0.5)
    assert result.functional_variance == pytest.approx(0, abs=1e-12)
    assert result.waic == pytest.approx(losses.mean())
    assert result.training_loss == pytest.approx(result.gibbs_training_loss)


def test_errors_are_those_of_independent_repetitions():
    def run(seed: int):
        generator = np.random.default_rng(seed)
        effect = generator.normal(size=(4, 100, 1))
        return information(0.5 * (effect - np.linspace(-1, 1, 20)) ** 2)

    runs = [run(seed) for seed in range(80)]
    for name in ("waic", "training_loss", "gibbs_training_loss", "functional_variance", "singular_fluctuation"):
        values = np.array([getattr(r, name) for r in runs])
        said = np.mean([getattr(r, f"{name}_error") for r in runs])
        assert 0.7 < said / values.std() < 1.5, name


@pytest.mark.parametrize(
    ("model", "llc", "beta"), [("regular", 1.5, 1.0), ("singular", 0.25, 1.0), ("singular", 0.25, 0.5)]
)
def test_lambda_and_nu_give_the_errors_of_learning(model, llc, beta):
    """E[n (G - L0)] = (λ - ν)/β + ν, E[n (T - L0)] = (λ - ν)/β - ν, E[WAIC] = E[G] (Watanabe 2009, 2010)."""
    found = generalization.case(model, llc, beta, sets=300, n=100, draws=200, seed=0)
    assert max(generalization.z_scores(found).values()) < 4
    assert found["relations"]["G + T"][1] < 0.1 * llc  # sharp enough to tell
    nu, error = found["fluctuation"]
    if model == "singular":
        assert abs(nu - llc) > 4 * error  # ν is another number than λ


def linear(n: int = 300, d: int = 3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-1.0], [0.5]], dtype=torch.float64)
    y = y + torch.randn(n, 1, generator=generator, dtype=torch.float64)
    model = nn.Linear(d, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    return model, x, y


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_waic_of_a_linear_regression_against_the_closed_form(beta):
    model, x, y = linear()
    gamma = 5.0
    result = slt.waic(model, (x, y), slt.gaussian_loss(1.0), beta=beta, gamma=gamma, test=(x, y), target_error=0.06)
    assert result.status == "ok", str(result)
    center = model.weight.detach().double().T
    covariance = torch.linalg.inv(beta * x.T @ x + gamma * torch.eye(3, dtype=torch.float64))
    residual = (y - x @ center)[:, 0]  # the centre is the maximum likelihood: the posterior's mean too
    s = (x @ covariance * x).sum(1)  # Var f(x_i)
    variance = float((s**2 / 2 + residual**2 * s).sum())
    predictive = 0.5 * float((residual**2 / (1 + s) + torch.log1p(s)).mean())
    gibbs = 0.5 * float((residual**2 + s).mean())
    assert abs(result.functional_variance - variance) < 4 * result.functional_variance_error
    assert abs(result.training_loss - predictive) < 4 * result.training_loss_error
    assert abs(result.gibbs_training_loss - gibbs) < 4 * result.gibbs_training_loss_error
    assert abs(result.waic - predictive - beta * variance / 300) < 4 * result.waic_error
    assert result.generalization_loss == pytest.approx(result.training_loss)  # the test data are the data
    assert "WAIC = " in str(result)
    assert "generalization loss" in str(result)
    assert '"waic"' in result.to_json()


def test_what_waic_refuses():
    model, x, y = linear(20)
    loss = slt.gaussian_loss(1.0)
    with pytest.raises(slt.InputError, match="'hmc' or 'mala'"):
        slt.waic(model, (x, y), loss, sampler="sgld")
    with pytest.raises(slt.InputError, match="at least 4 draws"):
        information(np.zeros((2, 3, 5)))
    with pytest.raises(slt.InputError, match="finite"):
        information(np.full((2, 5, 5), np.nan))
    with pytest.raises(slt.InputError, match="detach"):
        information(torch.ones(2, 4, 3, requires_grad=True))
    with pytest.raises(slt.InputError, match="at least 4 draws"):
        information(np.zeros((0, 4, 2)))
    with pytest.raises(slt.InputError, match="beta must be positive"):
        information(np.zeros((2, 5, 5)), beta=0.0)


def test_too_few_draws_are_said():
    model, x, y = linear(50)
    result = slt.waic(model, (x, y), slt.gaussian_loss(1.0), draws=10, chains=4)
    assert result.status != "ok"
    assert "ESS" in " ".join(result.reasons)
    assert summarize_mean(np.zeros((4, 10))).std_error == 0
