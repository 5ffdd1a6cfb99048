"""Metropolis-corrected kernels have no step-size bias: mean loss, its variance and second moments, kernel × target."""

import pytest
import torch
from simulation import moments, z_scores
from targets import Target, correlated, crossing, ill_conditioned, logistic, quartic

from samplers.hmc import HMC, mala
from samplers.low_rank import LowRank
from samplers.preconditioner import Diagonal, Preconditioner

CHAINS = 48


def whitening(target: Target) -> Preconditioner:
    """G = the covariance, as a low-rank preconditioner of full rank."""
    values, vectors = torch.linalg.eigh(torch.tensor(target.moments))
    return LowRank(vectors, values)


# target, step size in units of the preconditioned curvature: far from small, so that rejections do the work
TARGETS = {
    "ill-conditioned": (ill_conditioned, lambda t: Diagonal(1 / t.curvature), 0.5),
    "correlated": (correlated, whitening, 0.5),
    "quartic": (quartic, lambda t: Diagonal(torch.tensor(t.moments.diagonal()).clone()), 0.4),
    "crossing": (crossing, lambda t: Diagonal(torch.tensor(t.moments.diagonal()).clone()), 0.1),
    "logistic": (logistic, lambda t: Diagonal(1 / t.curvature), 0.5),
}
KERNELS = {
    "mala": lambda epsilon, g, **parts: mala(1.5 * epsilon, g, **parts),
    "hmc": lambda epsilon, g, **parts: HMC(epsilon, 6, g, **parts),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", TARGETS)
def test_moments(name, kernel):
    make_target, preconditioner, epsilon = TARGETS[name]
    target = make_target()
    steps = 1200 if kernel == "mala" else 400
    found = moments(
        target, KERNELS[kernel](epsilon, preconditioner(target)), chains=CHAINS, warmup=steps // 3, steps=steps
    )
    z = torch.stack([z_scores(found["loss"], target.mean_loss), z_scores(found["variance"], target.variance_loss)])
    z = torch.cat([z, z_scores(found["second"], target.moments.flatten())])
    assert float(z.abs().max()) < 4, z
    # Sharp enough to see a bias: the mean loss is known to some per cent.
    assert float(found["loss"].std() / CHAINS**0.5) < 0.05 * target.mean_loss
