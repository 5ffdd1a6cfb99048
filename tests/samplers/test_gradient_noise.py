"""Minibatch noise: what the estimators of the gradient have of it, and what the kernels do about it."""

import pytest
import torch
from simulation import start_run, z_scores
from targets import gaussian
from torch import Tensor

from samplers.batches import Batches
from samplers.errors import InputError
from samplers.gradient import ControlVariate, Evaluation, Plain
from samplers.noise import ChainNoise
from samplers.noise_compensation import NoiseCompensation
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Identity
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT

N, BATCH = 120, 12


class Regression:
    """Least squares on N samples, not at its minimum: L_B(w) = mean of ½ (x·w - y)² over the samples of B."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(N, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5]).double()
        self.y = self.x @ torch.tensor([1.0, -1.0, 0.5]).double()
        self.y += torch.randn(N, generator=generator, dtype=torch.float64)
        self.dimension, self.evaluations = 3, 0

    def value(self, w: Tensor, index: Tensor | None = None) -> Tensor:
        return self.value_and_grad(w, index)[0]

    def value_and_grad(self, w: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, y = (self.x, self.y) if index is None else (self.x[index], self.y[index])
        residual = w @ x.T - y
        self.evaluations += residual.numel()
        return 0.5 * residual.square().mean(-1), residual @ x / len(x)

    def hessian(self) -> Tensor:
        return self.x.T @ self.x / N


@pytest.fixture
def posterior() -> LocalPosterior:
    return LocalPosterior(Regression(), torch.tensor([0.9, -0.9, 0.6]).double(), n=N, beta=0.2, gamma=2.0)


@pytest.mark.parametrize("make", [Plain, ControlVariate])
def test_estimators_are_unbiased(posterior, make):
    """Over minibatches that make up the data the mean is exact: gradient, and loss - center_loss."""
    estimator, w = make(), posterior.draw_localizer(4, ChainNoise(0, 4))
    found = [estimator(posterior, w, index) for index in torch.arange(N).split(BATCH)]
    full = Plain()(posterior, w, None)
    mean = Evaluation(*(torch.stack(parts).mean(0) for parts in zip(*found, strict=True)))
    torch.testing.assert_close(mean.gradient, full.gradient)
    torch.testing.assert_close(mean.loss - mean.center_loss, full.loss - full.center_loss)


def test_control_variates_take_out_the_noise_near_the_centre(posterior):
    plain, corrected = Plain(), ControlVariate()
    index = Batches(N, BATCH, 0).next()
    full = plain(posterior, posterior.centers, None)
    at_center = corrected(posterior, posterior.centers, index)
    torch.testing.assert_close(at_center.gradient, full.gradient)
    close = posterior.centers + 1e-3 * torch.ones(1, 3).double()
    exact = plain(posterior, close, None).gradient
    noisy, quiet = plain(posterior, close, index).gradient - exact, corrected(posterior, close, index).gradient - exact
    assert float(quiet.norm()) < 0.01 * float(noisy.norm())
    everything = corrected(posterior, close, None)
    torch.testing.assert_close(everything.gradient, plain(posterior, close, None).gradient)


def test_control_variates_know_each_chains_centre():
    loss = Regression()
    centers = torch.tensor([[1.0, -1.0, 0.5], [0.0, 0.0, 0.0]]).double()
    both = LocalPosterior(loss, centers, n=N, beta=0.2, gamma=2.0, owner=[1, 0, 1])
    index, w = Batches(N, BATCH, 0).next(), torch.randn(3, 3, dtype=torch.float64)
    together = ControlVariate()(both, w, index)
    for chain, owner in enumerate([1, 0, 1]):
        one = LocalPosterior(loss, centers[owner], n=N, beta=0.2, gamma=2.0)
        alone = ControlVariate()(one, w[chain : chain + 1], index)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[chain : chain + 1], b)


def test_what_is_known_at_the_centres_is_computed_once_for_all_temperatures(posterior):
    estimator, w, index = ControlVariate(), posterior.draw_localizer(4, ChainNoise(0, 4)), torch.arange(BATCH)
    estimator(posterior, w, index)
    before = posterior.loss.evaluations
    estimator(posterior.tempered(0.1), w, index)
    assert posterior.loss.evaluations - before == 5 * BATCH
    elsewhere = LocalPosterior(posterior.loss, posterior.centers + 1, n=N, beta=0.2, gamma=2.0)
    estimator(elsewhere, w, index)
    assert posterior.loss.evaluations - before == 10 * BATCH + N


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("make", [Plain, ControlVariate])
def test_noise_is_estimated_from_halves_without_bias(posterior, make, size):
    """Against the covariance over all minibatches, S²/b (1 - b/n), through the per-sample gradients."""
    w = posterior.centers + 0.7
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randperm(N, generator=generator)[:size] for _ in range(6_000)]
    compensation, estimator = NoiseCompensation(), make()
    found = torch.stack([compensation.evaluate(estimator, posterior, w, b)[1][0] for b in batches])
    residual = posterior.loss.x @ w[0] - posterior.loss.y
    per_sample = residual[:, None] * posterior.loss.x
    if make is ControlVariate:
        residual = posterior.loss.x @ posterior.centers[0] - posterior.loss.y
        per_sample = per_sample - residual[:, None] * posterior.loss.x
    exact = float(posterior.n_beta) ** 2 * per_sample.var(0) / size * (1 - size / N)
    assert float(z_scores(found.square(), exact.numpy()).abs().max()) < 4
    assert float(z_scores(found, 0.0).abs().max()) < 4


def test_halves_give_the_evaluation_of_the_whole_batch_at_the_same_cost(posterior):
    w, index = posterior.draw_localizer(4, ChainNoise(0, 4)), torch.arange(13)
    whole = Plain()(posterior, w, index)
    before = posterior.loss.evaluations
    halves, _ = NoiseCompensation().evaluate(Plain(), posterior, w, index)
    assert posterior.loss.evaluations - before == 5 * 13  # chains and centre
    for a, b in zip(whole, halves, strict=True):
        torch.testing.assert_close(a, b)
    assert NoiseCompensation().evaluate(Plain(), posterior, w, None)[1] is None
    with pytest.raises(InputError, match="at least 2 samples"):
        NoiseCompensation().evaluate(Plain(), posterior, w, index[:1])


def test_variance_is_averaged_in_preconditioned_coordinates():
    compensation, metric = NoiseCompensation(decay=0.9), Diagonal(torch.tensor([4.0, 1.0]).double())
    state = compensation.init(torch.zeros(1, 2).double())
    expected = torch.zeros(1, 2).double()
    for step in range(1, 6):
        sample = torch.full((1, 2), float(step)).double()
        state = compensation.update(state, metric, sample)
        expected = 0.9 * expected + 0.1 * sample.square() * torch.tensor([4.0, 1.0])
        torch.testing.assert_close(state.variance, expected / (1 - 0.9**step))
    assert compensation.factor(state, 1e9).tolist() == [[0.1, 0.1]]  # √floor: the noise is more than can be taken out


class Random:
    """The full gradient plus independent Gaussian noise of variance `variance` in ∇U, from a stream of its own."""

    def __init__(self, variance: float):
        self.scale = variance**0.5
        self.generator = torch.Generator().manual_seed(99)
        self.plain = Plain()

    def __call__(self, posterior: LocalPosterior, w: Tensor, index: Tensor | None) -> Evaluation:
        evaluation = self.plain(posterior, w, None)
        noise = torch.randn(w.shape, generator=self.generator, dtype=w.dtype) * self.scale / posterior.n_beta
        return evaluation._replace(gradient=evaluation.gradient + noise)


def test_thermostat_recovers_the_target_under_gradient_noise_that_ruins_langevin():
    """Noise of unknown variance: SGLD more than 20% off in every direction, SGNHT within 3%."""
    target = gaussian("round", torch.eye(20).double(), 1.0, 1.0)
    epsilon, variance = 0.1, 12.0
    errors = {}
    for name, kernel in (
        ("sgld", SGLD(epsilon, gradient=Random(variance))),
        ("sgnht", SGNHT(epsilon, 0.9, 0.1, gradient=Random(variance))),
    ):
        run = start_run(target.posterior, kernel, 32)
        total = torch.zeros(20).double()
        for step in range(4000):
            run.step()
            if step >= 1000:
                total += run.position.square().mean(0)
        errors[name] = total / 3000 * 2 - 1  # 1/s = ½
    assert float(errors["sgld"].min()) > 0.2
    assert float(errors["sgnht"].abs().max()) < 0.03, errors


def test_thermostat_settles_at_the_friction_of_the_noise():
    target = gaussian("round", 0.01 * torch.eye(6).double(), 1.0, 0.01)
    kernel = SGNHT(0.02, 0.9, 0.05, gradient=Random(4.0))
    run = start_run(target.posterior, kernel, 32)
    frictions = []
    for step in range(4000):
        run.step()
        if step >= 2000:
            frictions.append(run.state.friction)
    settled = float(torch.stack(frictions).mean())
    assert settled == pytest.approx(-torch.log(torch.tensor(0.9)).item() + 0.02 * 4.0 / 2, rel=0.1)


def test_each_chain_has_a_thermostat_of_its_own():
    target = gaussian("round", torch.eye(6).double(), 1.0, 1.0)
    run = start_run(target.posterior, SGNHT(0.05), 3)
    for _ in range(10):
        run.step()
    assert run.state.friction.shape == (3,)
    assert len(run.state.friction.unique()) == 3


KERNELS = {
    "sgld": (SGLD, lambda s, epsilon: 1 / (s * (1 - epsilon * s / 4))),
    "sghmc": (lambda epsilon, **parts: SGHMC(epsilon, 0.5, **parts), lambda s, epsilon: 1 / s),
}


@pytest.mark.parametrize("name", KERNELS)
def test_compensation_takes_minibatch_noise_out_of_the_law(posterior, name):
    """Along the stiffest direction of a regression, what is left is the law of the full gradient.

    Exactly so for SGLD; for SGHMC in the limit of slow directions, and here but for a few per cent.
    """
    make, law = KERNELS[name]
    values, vectors = torch.linalg.eigh(posterior.n_beta * posterior.loss.hessian() + 2.0 * torch.eye(3).double())
    slope = posterior.n_beta * posterior.loss.value_and_grad(posterior.centers)[1][0]
    stiff, mean = vectors[:, -1], -(vectors[:, -1] @ slope) / values[-1]
    epsilon, found = 0.003, {}
    for compensated, parts in ((False, {}), (True, {"compensation": NoiseCompensation()})):
        noise = ChainNoise(0, 32)
        start = posterior.draw_localizer(32, noise)
        run = Run(posterior, make(epsilon, **parts), start, noise=noise, batches=Batches(N, BATCH, 5))
        total = torch.zeros(32).double()
        for step in range(3300):
            run.step()
            if step >= 300:
                total += (posterior.displacement(run.position) @ stiff - mean).square()
        found[compensated] = float((total / 3000 / law(values[-1], epsilon)).mean()) - 1
    assert found[False] > 0.1
    assert abs(found[True]) < 0.2 * found[False]


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="decay"):
        NoiseCompensation(decay=1.0)
    with pytest.raises(InputError, match="floor"):
        NoiseCompensation(floor=-0.1)
    with pytest.raises(InputError, match="momentum"):
        SGNHT(0.1, momentum=0.0)
    with pytest.raises(InputError, match="response"):
        SGNHT(0.1, response=0.0)
    with pytest.raises(InputError, match="step_size must be positive"):
        SGNHT(torch.tensor([0.1, -0.1]))
    assert isinstance(SGNHT(0.1).preconditioner, Identity)
