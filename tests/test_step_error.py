"""The bias of steps without rejection: measured with coupled chains, taken out, and said where that cannot be done."""

import math

import pytest
import torch
from torch import nn

import slt
from samplers.coupling import Start, coarser, shadow
from samplers.hmc import HMC
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from slt.linearized import quadratic_llc
from slt.llc.estimation import estimate_potential

GAMMA = 10.0


def langevin(quadratic, step_size, **knobs):
    model, data, _ = quadratic
    settings = {"sampler": "sgld", "preconditioner": "identity", "batch_size": 200, "gamma": GAMMA, "chains": 32}
    settings |= {"warmup": 50, "draws": 600, "step_size": step_size}
    return slt.estimate_llc(model, data, slt.gaussian_loss(1.0), **{**settings, **knobs})


@pytest.mark.parametrize("step_size", [2e-3, 1e-2])
def test_a_langevin_step_is_freed_of_its_bias(quadratic, step_size):
    run = langevin(quadratic, step_size)
    exact = quadratic_llc(quadratic[2], run.n * run.beta, GAMMA)
    biased = quadratic_llc(quadratic[2], run.n * run.beta, GAMMA, step_size)
    twice = quadratic_llc(quadratic[2], run.n * run.beta, GAMMA, 2 * step_size)
    assert abs(run.llc - exact) / run.std_error < 3
    assert abs(run.step_error.shift - (twice - biased)) / run.step_error.std_error < 4
    assert abs(run.llc + run.step_error.shift - biased) / run.std_error < 4
    assert run.step_error.std_error < 0.5 * run.std_error or step_size > 5e-3  # the coupling's doing


def test_a_bias_too_large_to_take_out_bars_ok(quadratic):
    run = langevin(quadratic, 3e-2)  # a bias of 90%, at twice the step 10 times more
    assert run.status == "failed"
    assert "the step size shifts llc by" in " ".join(run.reasons)
    assert run.step_error.stiffness == pytest.approx(3e-2 * (run.n * run.beta + GAMMA), rel=0.1)


def test_a_step_whose_double_is_unstable_is_said(quadratic):
    run = langevin(quadratic, 6e-2, draws=400)
    words = " ".join(run.reasons)
    assert run.status == "failed"
    assert "turned non-finite, so it is near the limit of stability" in words or "shifts llc" in words


def test_unmeasured_bias_is_said(quadratic):
    for knobs in ({"extrapolate": False}, {"draws": 40}):  # 90 with the warm-up
        run = langevin(quadratic, 2e-3, **knobs)
        assert run.step_error is None
        assert run.status != "ok"
        assert "bias of the step size was not measured" in " ".join(run.reasons)


@pytest.mark.slow
def test_the_biased_adaptive_kernels_are_right_on_a_network(digits, digits_mlp):
    exact = slt.estimate_llc(digits_mlp, digits, target_error=0.02)
    for name in ("psgld", "adam-sgld", "sghmc"):
        run = slt.estimate_llc(digits_mlp, digits, sampler=name, target_error=0.04)
        z = (run.llc - exact.llc) / (run.std_error**2 + exact.std_error**2) ** 0.5
        assert abs(z) < 3.5, run
        assert run.llc + run.step_error.shift > run.llc
        assert run.step_error.relative_to(run.llc) == pytest.approx(
            abs(run.step_error.shift / (run.llc + run.step_error.shift))
        )


class DeepLinear(nn.Sequential):
    """Layers of one width whose product is a projection of rank 3."""

    def __init__(self, width: int = 10, layers: int = 3):
        super().__init__(*(nn.Linear(width, width, bias=False, dtype=torch.float64) for _ in range(layers)))
        with torch.no_grad():
            for layer in self:
                layer.weight.copy_(torch.diag((torch.arange(width) < 3).double()))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["sgld", "sgld-cv"])
def test_chains_that_meet_ever_more_curvature_give_no_quiet_number(sampler):
    """At γ = 1 the chains of a deep linear network reach weights a thousand times as stiff as w*; λ̂ is 37.9 by HMC."""
    model, generator = DeepLinear(), torch.Generator().manual_seed(1)
    x = torch.randn(50_000, 10, generator=generator, dtype=torch.float64)
    y = model(x).detach() + torch.randn(50_000, 10, generator=generator, dtype=torch.float64)
    run = slt.estimate_llc(model, (x, y), slt.gaussian_loss(1.0), gamma=1.0, sampler=sampler, draws=300)
    assert run.status == "failed" or (run.status == "warning" and abs(run.llc / 37.9 - 1) < 0.1)
    assert any(word in " ".join(run.reasons) for word in ("still near where they started", "step size"))


def test_the_coarser_kernel_goes_twice_as_far():
    assert coarser(SGLD(1e-3)).step_size == 2e-3
    half = coarser(SGHMC(1e-3, momentum=0.5))
    speed = [k.step_size * (1 + k.momentum) / (1 - k.momentum) for k in (SGHMC(1e-3, momentum=0.5), half)]
    assert speed[1] == pytest.approx(2 * speed[0])
    assert coarser(object()) is None


def test_nothing_is_compared_where_nothing_is_biased(quadratic):
    model, data, _ = quadratic
    run = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), sampler="hmc", gamma=GAMMA, draws=200)
    assert run.step_error is None
    composed = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), sampler=HMC(1e-2), gamma=GAMMA, draws=200)
    assert composed.step_error is None


@pytest.mark.parametrize("thin", [1, 2])
def test_shadows_read_the_same_minibatches(digits, digits_mlp, thin):
    runs = []

    def remembering(run, start, draws, thin):
        found = shadow(run, start, draws, thin)
        runs.append(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slt.llc.step_error.shadow", remembering)
        run = slt.estimate_llc(digits_mlp, digits, sampler="sgld", draws=100, thin=thin)
    ((again, which),) = runs
    recorded = run.trace.center_loss[: len(again.loss), -100:]
    assert (recorded[:, which] == again.center_loss).all()
    assert len(which) >= 49
    ahead = run.trace.loss[: len(again.loss), -100:][:, which] - again.loss
    assert 0 < abs(ahead).max() < 0.02  # close to the chains they shadow, but not the same


def test_a_start_is_not_spent_by_the_run_that_goes_on():
    center = torch.zeros(3, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        starts: list[Start] = []
        take = Start.of.__func__
        patch.setattr(Start, "of", classmethod(lambda cls, *a: starts.append(take(cls, *a)) or starts[-1]))
        estimate_potential(lambda w: w.square().sum(-1), center, 100, sampler="sgld", draws=200)
        first = starts[0]
        again = estimate_potential(lambda w: w.square().sum(-1), center, 100, sampler="sgld", draws=100)
    assert torch.equal(first.state.position, starts[1].state.position)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.noise["normals"]["generators"], starts[1].noise["normals"]["generators"], strict=True)
    )
    assert again.step_error is not None


def test_the_heat_capacity_is_freed_of_the_step_too(quadratic):
    model, data, h = quadratic
    n_beta, gamma = 200 / math.log(200), 10.0
    share = n_beta * h / (n_beta * h + gamma)
    knobs = {"sampler": "sgld", "batch_size": 200, "gamma": gamma, "preconditioner": "identity", "step_size": 0.006}
    found = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), draws=4000, progress=False, **knobs)
    exact = 0.5 * float(share.square().sum())
    assert abs(found.heat - exact) < 2.5 * found.heat_error
    assert found.heat_error < 0.5 * exact
