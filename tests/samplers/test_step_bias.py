"""The bias that is predicted from curvature and gradient noise, against the bias that is."""

import pytest
import torch
from simulation import affine_step, stationary
from targets import correlated
from test_gradient_noise import BATCH, N, Regression

from samplers.batches import Batches
from samplers.constraints import Mask
from samplers.errors import InputError
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.step_bias import step_bias

METRIC = LowRank(torch.eye(4)[:, :2].double(), torch.tensor([0.5, 2.0]).double(), torch.linspace(0.5, 1, 4).double())


@pytest.mark.parametrize(
    "parts", [{}, {"preconditioner": METRIC}, {"constraint": Mask(torch.tensor([True, False, True, True]))}]
)
def test_discretization_is_that_of_the_exact_law(parts):
    target = correlated()
    predicted = []
    posterior, w = target.posterior, torch.zeros(1, 4).double()
    active = torch.eye(4)[:, [0, 2, 3]].double().numpy() if "constraint" in parts else None
    for epsilon in (1e-3, 1e-4):
        kernel = SGLD(epsilon, **parts)
        found = step_bias(posterior, kernel, w, ChainNoise(0, 1), [None] * 400, 0.1)
        law = stationary(affine_step(posterior, lambda g, e=epsilon: SGLD(e, gradient=g, **parts)), active=active)[1]
        precision = torch.linalg.inv(torch.tensor(target.moments))
        dimension = 3 if "constraint" in parts else 4
        excess = 0.5 * float((precision * torch.tensor(law)).sum()) - dimension / 2
        predicted.append(float(found.discretization) / excess)
        assert float(found.minibatches) == 0
    assert predicted[1] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("momentum", [None, 0.6])
def test_minibatch_part_is_that_of_the_known_noise(momentum):
    """Slow directions are wider by (ε/4) V (1 + c)/(1 - c), see test_biased_laws; V from the per-sample gradients."""
    posterior = LocalPosterior(Regression(), torch.tensor([0.9, -0.9, 0.6]).double(), n=N, beta=0.2, gamma=2.0)
    epsilon, w = 0.01, posterior.centers + torch.tensor([[0.0], [0.5]]).double()
    kernel = SGLD(epsilon) if momentum is None else SGHMC(epsilon, momentum)
    minibatches = [Batches(N, BATCH, seed).next() for seed in range(3000)]
    found = step_bias(posterior, kernel, w, ChainNoise(1, 2), minibatches, 0.1)
    residual = w @ posterior.loss.x.T - posterior.loss.y
    noise = (residual[:, :, None] * posterior.loss.x).var(1).sum(-1) * float(posterior.n_beta) ** 2 / BATCH
    amplified = 1.0 if momentum is None else (1 + momentum) / (1 - momentum)
    expected = 0.5 * epsilon / 4 * noise * (1 - BATCH / N) * amplified
    assert found.minibatches.tolist() == pytest.approx(expected.tolist(), rel=0.1)


def test_needs_minibatches_and_a_step_size_per_chain_is_taken():
    target = correlated()
    w = torch.zeros(2, 4).double()
    with pytest.raises(InputError, match="at least one minibatch"):
        step_bias(target.posterior, SGLD(0.1), w, ChainNoise(0, 2), [], 0.1)
    kernel = SGLD(torch.tensor([1e-3, 2e-3]), Diagonal(torch.ones(4).double()))
    found = step_bias(target.posterior, kernel, w, ChainNoise(0, [0, 0]), [None], 0.1)
    assert float(found.discretization[1] / found.discretization[0]) == pytest.approx(2)
