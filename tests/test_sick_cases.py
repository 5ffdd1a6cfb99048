"""Twelve sick cases: the status is never 'ok' with a wrong number, and the reason names the sickness."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import slt
from samplers.hmc import HMC, HMCState
from slt.llc.estimation import estimate_potential
from slt.llc.soundness import drifted, too_few_data

N = 400


def inputs(columns: int = 3, n: int = N) -> Tensor:
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def words(run) -> str:
    return " ".join([*run.reasons, *run.remarks])


class Product(nn.Module):
    """a·b·x: at a = b = 0 a saddle of the squared error, unless the targets are 0."""

    def __init__(self, a: float = 0.0, b: float = 0.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([a, b], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.prod() * x


class Small(nn.Module):
    """3-4-1, with whatever is done to the hidden layer."""

    def __init__(self, hidden=torch.tanh, dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first, self.second = nn.Linear(3, 4, dtype=dtype), nn.Linear(4, 1, dtype=dtype)
        self.hidden = hidden
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.hidden(self.first(x)))


def noisy(y: Tensor, sigma: float = 1.0) -> Tensor:
    return y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(8), dtype=y.dtype)


def run(model: nn.Module, x: Tensor, y: Tensor, variance: float = 1.0, **knobs):
    return slt.estimate_llc(model, (x, y), slt.gaussian_loss(variance), **{"max_steps": 1000, **knobs})


def test_saddle_point():
    x = inputs(1)
    found = run(Product(), x, 0.7 * x, gamma=1.0)
    assert found.status == "failed"
    assert "not a local minimum" in words(found)


def test_untrained_network():
    x = inputs()
    found = run(Small(), x, noisy(3 * x.sum(1, keepdim=True)))
    assert found.status == "failed"
    assert "not a local minimum" in words(found)


def test_checkpoint_in_mid_descent_and_its_remedy():
    x = inputs()
    model = Small()
    y = noisy(model(x).detach() + 0.15 * x[:, :1])  # the slope that training had not yet found
    found = run(model, x, y, gamma=100.0)
    assert found.status != "ok"
    assert "not a local minimum" in words(found)
    assert "remedy='gradient-normal'" in words(found)
    for remedy in ("gradient-normal", "heat-capacity"):
        again = run(model, x, y, gamma=100.0, remedy=remedy)
        assert again.llc > 0
        assert "remedy: " in words(again)


def test_too_few_data():
    x = inputs(n=8)
    model = Small()
    found = run(model, x, model(x).detach(), gamma=0.3)
    assert found.status != "ok"
    assert "too few data: n = 8" in words(found)
    assert too_few_data(1000, 10**6, 5.0) == []


def test_dropout_left_on():
    x = inputs()
    model = Small(lambda h: functional.dropout(torch.tanh(h), 0.3, training=True))
    with pytest.raises(slt.InputError, match=r"not deterministic.*dropout"):
        run(model, x, torch.zeros(N, 1).double())
    module = nn.Sequential(nn.Linear(3, 4).double(), nn.Dropout(0.5), nn.Linear(4, 1).double()).train()
    quiet = run(
        module, x, module.eval()(x).detach(), draws=20
    )  # a module's own is switched off, and said nowhere wrong
    assert math.isfinite(quiet.llc)


def test_batch_statistics_left_on():
    x = inputs()
    model = Small(lambda h: functional.batch_norm(h, None, None, training=True))
    with pytest.raises(slt.InputError, match="depends on the samples it is evaluated with"):
        run(model, x, torch.zeros(N, 1).double())


def test_exploding_loss():
    x = inputs()
    model = Small(lambda h: torch.exp(torch.exp(h)))
    found = run(model, x, model(x).detach(), sampler="sgld", step_size=1e-2, draws=200, gamma=1.0)
    assert found.status == "failed"
    assert "non-finite" in words(found) or "step_size" in words(found)


class OneStuck(HMC):
    """HMC whose chain 2 is refused at every step."""

    def step(self, posterior, state, index, noise):
        new, info = super().step(posterior, state, index, noise)
        kept = [
            torch.where((torch.arange(len(a)) == 2).view(-1, *[1] * (a.ndim - 1)), b, a)
            for a, b in zip(new, state, strict=True)
        ]
        acceptance = info.acceptance * (torch.arange(len(info.acceptance)) != 2)
        return HMCState(*kept), info._replace(loss=kept[1], acceptance=acceptance)


def test_one_stuck_chain():
    x = inputs()
    model = Small()
    found = run(model, x, model(x).detach(), sampler=OneStuck(1e-3), draws=300, gamma=10.0)
    assert found.status == "failed"
    assert "stuck: chain 2" in words(found)


def test_disconnected_modes():
    def potential(w: Tensor) -> Tensor:  # wells at 0 and 1, the second a little higher: no chain crosses between them
        wells = torch.stack([w.square().sum(-1), (w - 1).square().sum(-1) + 0.005])
        return 4 * -torch.logsumexp(-50 * wells, 0) / 50

    found = estimate_potential(potential, torch.zeros(2, dtype=torch.float64), 2000, gamma=0.5, chains=16, draws=300)
    right = 1.0  # of the well at w* alone; E over both is 1 + p·nβ·0.02, p the share of the second well
    share = 1 / (1 + math.exp(2000 / math.log(2000) * 0.02))
    exact = right + share * 2000 / math.log(2000) * 0.02
    assert found.status != "ok" or abs(found.llc - exact) < 4 * found.std_error
    if found.status != "ok":
        assert "chains" in words(found)


class Drifting(nn.Module):
    """A loss that changes with every evaluation, too little to be seen at once."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.calls = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        return x * self.w * (1 + 0.2 * (self.calls[0] > 40))


def test_non_deterministic_loss():
    x = inputs(2)
    found = run(Drifting(), x, noisy(x), draws=60, gamma=1.0)
    assert found.status == "failed"
    assert "not deterministic: L(w*) was" in words(found)
    assert drifted(1.0, 1.0 + 1e-9) == []


@pytest.mark.parametrize(("variance", "direction"), [(0.1, "low"), (10.0, "high")])
def test_wrong_noise_variance(variance, direction):
    x = inputs()
    model = nn.Linear(3, 1, bias=False).double()
    y = noisy(x.sum(1, keepdim=True))
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    found = run(model, x, y, variance, gamma=1.0)
    assert found.status == "warning"
    assert f"too {direction}" in words(found)
    assert "the residuals at w* have variance" in words(found)
    right = run(model, x, y, 1.0, gamma=1.0, max_steps=5000)
    assert right.status == "ok"
    assert abs(right.llc - 1.5) < 4 * right.std_error + 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision(dtype):
    x = inputs().float()
    model = Small(dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    reference = run(model, x, model(x).detach(), gamma=20.0)
    targets = model(x).detach()
    half = run(model.to(dtype), x, targets, gamma=20.0)
    assert half.dtype == "float32"
    assert f"the weights are {str(dtype).removeprefix('torch.')}: chains run in float32" in words(half)
    assert half.status != "ok" or abs(half.llc - reference.llc) < 4 * math.hypot(half.std_error, reference.std_error)


class Kinked(nn.Module):
    """relu(w·x) at w = 0, where it is no smooth function of w."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, 1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.w * x)


def test_relu_kink():
    x = inputs(1).abs()
    found = run(Kinked(), x, torch.zeros_like(x), gamma=1.0, max_steps=1500)
    n_beta, h = found.n * found.beta, float(x.square().mean())
    w = torch.linspace(-8, 8, 400_001, dtype=torch.float64)
    loss = 0.5 * h * torch.relu(w) ** 2
    weight = torch.exp(-n_beta * loss - 0.5 * w**2)
    exact = float(n_beta * (loss * weight).sum() / weight.sum())
    assert "kink" in words(found)
    assert found.status != "ok" or abs(found.llc - exact) < 4 * found.std_error


class Hidden(nn.Module):
    """x·(v, a·b): at v = 0, a = b = 0 a saddle whose gradient is zero, among 40 directions that are confined."""

    def __init__(self):
        super().__init__()
        self.v, self.a, self.b = (nn.Parameter(torch.zeros(k, dtype=torch.float64)) for k in (40, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.cat([self.v, self.a * self.b])[:, None]


@pytest.mark.parametrize(("slope", "saddle"), [(0.2, True), (0.0, False)])
def test_a_saddle_without_a_gradient_is_named(slope, saddle):
    x = inputs(41, 1500)
    y = slope * x[:, 40:] + torch.randn(1500, 1, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    fitted = x[:, : 40 if saddle else 41]
    y = y - fitted @ torch.linalg.lstsq(fitted, y).solution  # so that v = 0, or all of 0, is the minimum
    result = run(Hidden(), x, y, gamma=1.0)
    assert result.minimum.gradient_norm < 1e-12
    assert result.minimum.saddle is saddle
    assert ("saddle" in words(result)) is saddle
    assert (result.status == "ok") is not saddle or not saddle


@pytest.mark.parametrize("sampler", ["hmc", "mala"])
def test_chains_that_are_all_refused_are_stuck(sampler, quadratic):
    model, data, _ = quadratic
    knobs = {"gamma": 10.0, "sampler": sampler, "step_size": 1e6, "progress": False}
    result = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), **knobs)
    assert result.status == "failed"
    assert "stuck: every chain did not move" in words(result)


def test_a_loss_that_resolves_no_difference_is_told():
    x = inputs().float()
    model = Small(dtype=torch.float32)

    def far_from_zero(output, target):
        return 1 + 1e-9 * (output - target).square().sum(-1)

    y = noisy(model(x).detach())
    result = slt.estimate_llc(model, (x, y), far_from_zero, gamma=20.0, max_steps=1000, progress=False)
    assert result.status == "failed"
    assert "below its rounding" in words(result)


def test_a_gamma_below_the_rounding_of_the_weights_is_refused():
    x = inputs().float()
    model = Small(dtype=torch.float32)
    with pytest.raises(slt.InputError, match=r"gamma = 1e\+13 keeps .* use a gamma of at most .* or dtype='float64'"):
        run(model, x, model(x).detach(), gamma=1e13)


def test_a_noise_variance_far_above_the_residuals_is_named():
    model, x = Small(), inputs()
    y = noisy(model(x).detach(), 0.01)
    assert "not the noise variance 200" in words(run(model, x, y, variance=200.0, gamma=20.0))
    exact = run(model, x, model(x).detach(), variance=200.0, gamma=20.0)  # targets of the model itself
    assert "noise variance" not in words(exact)


@pytest.mark.parametrize("evaluation", ["auto", "loop"])
def test_a_loss_without_a_gradient_is_refused(evaluation):
    model, x = Small(hidden=lambda h: h.detach()), inputs()
    model.second.requires_grad_(False)
    with pytest.raises(slt.InputError, match="no gradient with respect to the weights"):
        run(model, x, noisy(model(x).detach()), evaluation=evaluation)


def test_one_chain_stops_at_its_target_and_fails_where_its_halves_disagree(quadratic):
    model, data, _ = quadratic
    knobs = {"gamma": 10.0, "chains": 1, "progress": False}
    sound = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), target_error=0.2, **knobs)
    assert sound.rhat < 1.05
    assert "max_steps" not in words(sound)
    drifting = slt.estimate_llc(model, data, slt.gaussian_loss(1.0), step_size=1e-7, draws=200, **knobs)
    assert drifting.status == "failed"
    assert "two halves of the chain disagree" in words(drifting)
