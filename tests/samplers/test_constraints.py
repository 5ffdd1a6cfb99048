"""Constraints: the restricted posterior that is sampled, held against its closed form or quadrature."""

import numpy as np
import pytest
import torch
from simulation import affine_step, start_run, stationary, z_scores
from targets import correlated, gaussian

from samplers import constraints
from samplers.adaptive_preconditioner import RMSprop
from samplers.constraints import Free, GradientHyperplane, Mask, TrustRegion, mask_for
from samplers.engine import Potential
from samplers.errors import InputError
from samplers.hmc import HMC, mala
from samplers.low_rank import LowRank
from samplers.parameters import ParameterLayout
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Identity
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT

KEEP = torch.tensor([True, False, True, True])
VECTORS = torch.linalg.qr(torch.arange(8.0).double().reshape(4, 2).cos())[0]
PRECONDITIONERS = [
    Identity(),
    Diagonal(torch.tensor([0.5, 1.0, 2.0, 0.7]).double()),
    LowRank(VECTORS, torch.tensor([0.3, 0.5]).double()),
    LowRank(VECTORS, torch.tensor([0.3, 0.5]).double(), torch.tensor([0.5, 1.0, 2.0, 0.7]).double()),
]


def sloped(hessian: torch.Tensor) -> LocalPosterior:
    """L = ½ wᵀHw + g·w with w* = 0 no minimum."""
    slope = torch.tensor([1.0, -2.0, 0.5, 0.3]).double()
    loss = Potential(lambda w: 0.5 * ((w @ hessian) * w).sum(-1) + w @ slope, 4)
    return LocalPosterior(loss, torch.zeros(4).double(), n=4.0, beta=1.0, gamma=0.5)


def restricted_gaussian(posterior: LocalPosterior, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the law of w = w* + basis z, for a quadratic U."""
    zero = torch.zeros(4).double()

    def energy(w):
        return posterior.n * posterior.loss.function(w[None])[0] + 0.25 * w.square().sum()

    precision = torch.func.hessian(energy)(zero).numpy()
    slope = torch.func.grad(energy)(zero).numpy()
    covariance = np.linalg.inv(basis.T @ precision @ basis)
    return -basis @ covariance @ (basis.T @ slope), basis @ covariance @ basis.T


def normal_basis(normal: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what is normal to `normal` among the kept coordinates."""
    rows = np.concatenate([normal[None], np.eye(len(normal))[~keep]])
    return np.linalg.svd(rows)[2][len(rows) :].T


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS, ids=["identity", "diagonal", "low rank", "both"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("plane", [False, True], ids=["free", "hyperplane"])
def test_linear_constraints_sample_the_restricted_posterior(plane, masked, preconditioner):
    """SGHMC is exact on quadratics, so that the law of its affine step is the restricted posterior to rounding."""
    posterior = sloped(torch.linalg.inv(0.9 ** (torch.arange(4.0)[:, None] - torch.arange(4.0)).abs()).double())
    mask = Mask(KEEP) if masked else None
    constraint = GradientHyperplane(mask) if plane else mask or Free()
    keep = KEEP.numpy() if masked else np.ones(4, dtype=bool)
    slope = posterior.loss.value_and_grad(posterior.centers)[1][0].numpy() * keep
    basis = normal_basis(slope / np.linalg.norm(slope), keep) if plane else np.eye(4)[:, keep]
    step = affine_step(
        posterior,
        lambda g: SGHMC(0.02, 0.6, preconditioner=preconditioner, gradient=g, constraint=constraint),
        "velocity",
    )
    both = np.kron(np.eye(2), basis)
    mean, covariance = stationary(step, active=both)
    expected_mean, expected = restricted_gaussian(posterior, basis)
    np.testing.assert_allclose(mean[:4], expected_mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(covariance[:4, :4], expected, rtol=1e-7, atol=1e-9)
    inside = step[0] @ both
    np.testing.assert_allclose(both @ both.T @ inside, inside, atol=1e-12)  # and it never leaves


def test_masked_quadratic_has_the_learning_coefficient_of_its_free_block():
    target = correlated()
    kernel = SGHMC(0.02, 0.6, constraint=Mask(KEEP))
    run = start_run(target.posterior, kernel, 64)
    draws = []
    for step in range(900):
        info = run.step()
        if step >= 100:
            draws.append(target.posterior.n_beta * (info.loss - info.center_loss))
    keep = KEEP.numpy()
    hessian = (np.linalg.inv(target.moments) - 0.5 * np.eye(4)) / 4
    block, identity = 4 * hessian[np.ix_(keep, keep)], np.eye(3)
    exact = 0.5 * np.trace(block @ np.linalg.inv(block + 0.5 * identity))
    found = torch.stack(draws).mean(0)
    assert abs(float(z_scores(found, exact))) < 4
    assert float(found.std() / 8) < 0.02 * exact
    assert torch.equal(run.position[:, 1], torch.zeros(64).double())


@pytest.mark.parametrize("kernel", ["sgnht", "hmc", "mala"])
def test_other_kernels_on_a_masked_hyperplane(kernel):
    """One direction and a masked coordinate less: the thermostat has to count the directions that are left."""
    posterior = sloped(torch.eye(4).double())
    constraint = GradientHyperplane(Mask(KEEP))
    make = {
        "sgnht": lambda: SGNHT(0.02, 0.8, 0.02, constraint=constraint),
        "hmc": lambda: HMC(0.2, 4, Diagonal(torch.tensor([0.5, 1.0, 2.0, 0.7]).double()), constraint=constraint),
        "mala": lambda: mala(0.3, Diagonal(torch.tensor([0.5, 1.0, 2.0, 0.7]).double()), constraint=constraint),
    }[kernel]
    run = start_run(posterior, make(), 64)
    values = []
    for step in range(1000):
        run.step()
        if step >= 200:
            values.append(run.position[:, :, None] * run.position[:, None, :])
    slope = posterior.loss.value_and_grad(posterior.centers)[1][0].numpy() * KEEP.numpy()
    mean, covariance = restricted_gaussian(posterior, normal_basis(slope / np.linalg.norm(slope), KEEP.numpy()))
    found = torch.stack(values).mean(0)
    used = covariance.diagonal() > 1e-12
    z = z_scores(found[:, used][:, :, used].flatten(1), (covariance + np.outer(mean, mean))[np.ix_(used, used)].ravel())
    assert float(z.abs().max()) < 4
    assert torch.equal(run.position[:, 1], torch.zeros(64).double())


def ball_posterior() -> tuple[LocalPosterior, np.ndarray, np.ndarray]:
    """A sloped quadratic in two dimensions cut off at |w| = 1, and what it is on a fine grid: points, weights."""
    loss = Potential(lambda w: w @ torch.tensor([-1.0, 0.4]).double() + w[:, 0] * w[:, 1], 2)
    posterior = LocalPosterior(loss, torch.zeros(2).double(), n=1.0, beta=1.0, gamma=1.0)
    # Polar coordinates, midpoint in r and periodic in the angle: no error from the edge.
    r = (np.arange(400) + 0.5) / 400
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius, phi = np.meshgrid(r, angle)
    points = np.stack([radius * np.cos(phi), radius * np.sin(phi)], -1).reshape(-1, 2)
    grid = torch.tensor(points)
    weight = np.exp(-posterior.potential(loss.value(grid), grid).numpy()) * radius.ravel()
    return posterior, points, weight / weight.sum()


def in_the_ball(kernel, warmup=30, steps=400) -> tuple[torch.Tensor, torch.Tensor]:
    """Per chain: means of w and w wᵀ, and the share of draws in the outer tenth of the ball's area."""
    posterior, _, _ = ball_posterior()
    run = start_run(posterior, kernel, 64)
    first, outer = [], []
    for step in range(warmup + steps):
        run.step()
        x = run.position
        assert float(x.norm(dim=-1).max()) <= 1 + 1e-9
        if step >= warmup:
            first.append(torch.cat([x, x.square(), x.prod(-1, keepdim=True)], dim=1))
            outer.append((x.square().sum(-1) > 0.9).double())
    return torch.stack(first).mean(0), torch.stack(outer).mean(0)


def ball_values() -> tuple[np.ndarray, float]:
    _, x, p = ball_posterior()
    values = np.concatenate([x, x**2, x.prod(1, keepdims=True)], axis=1)
    return p @ values, float(p @ ((x**2).sum(1) > 0.9))


METRIC = Diagonal(torch.tensor([0.3, 2.0]).double())


@pytest.mark.parametrize(
    "kernel",
    [
        HMC(0.3, 3, constraint=TrustRegion(1.0)),
        HMC(0.3, 3, METRIC, constraint=TrustRegion(1.0)),
        mala(0.4, METRIC, constraint=TrustRegion(1.0)),
    ],
    ids=["hmc", "preconditioned hmc", "mala"],
)
def test_reflection_is_exact_under_metropolis(kernel):
    found, outer = in_the_ball(kernel)
    expected, share = ball_values()
    assert float(z_scores(found, expected).abs().max()) < 4
    assert abs(float(z_scores(outer, share))) < 4  # nothing piles up at the sphere


@pytest.mark.parametrize(
    "make",
    [
        lambda epsilon: SGLD(epsilon, METRIC, constraint=TrustRegion(1.0)),
        lambda epsilon: SGHMC(epsilon, 0.7, METRIC, constraint=TrustRegion(1.0)),
    ],
    ids=["sgld", "sghmc"],
)
def test_reflection_without_rejection_tends_to_the_truncated_posterior(make):
    expected, share = ball_values()
    found, outer = in_the_ball(make(0.01), warmup=200, steps=1000)
    for values, exact in ((found, expected), (outer, share)):
        error = values.mean(0) - torch.as_tensor(exact)
        assert float((error.abs() - 4 * values.std(0) / 8).max()) < 0.01


def test_starting_points_outside_the_ball_are_mirrored_into_it():
    posterior, _, _ = ball_posterior()
    outside = torch.tensor([[3.0, 4.0], [0.1, 0.2]]).double()
    placed = TrustRegion(1.0).place(posterior, outside)
    torch.testing.assert_close(placed, torch.tensor([[0.12, 0.16], [0.1, 0.2]]).double())


def test_a_step_that_bounces_for_ever_is_refused():
    posterior, _, _ = ball_posterior()
    region, w = TrustRegion(1.0), torch.tensor([[0.0, 0.0], [0.5, 0.0]]).double()
    velocity = torch.tensor([[1e6, 1.0], [0.1, 0.0]]).double()
    position, back, arrived = region.travel(posterior, Identity(), w, velocity, 1.0)
    assert arrived.tolist() == [False, True]
    assert torch.equal(position[0], w[0])
    assert torch.equal(back[0], -velocity[0])


def test_trajectories_that_bounce_too_often_are_refused_both_ways(monkeypatch):
    """With one bounce allowed most trajectories are refused, and what is left is still exact."""
    monkeypatch.setattr(constraints, "MAX_BOUNCES", 1)
    found, outer = in_the_ball(HMC(0.3, 3, METRIC, constraint=TrustRegion(1.0)), steps=800)
    expected, share = ball_values()
    assert float(z_scores(found, expected).abs().max()) < 4
    assert abs(float(z_scores(outer, share))) < 4


def test_trust_region_within_a_mask():
    target = correlated()
    kernel = HMC(0.05, 3, constraint=TrustRegion(0.5, within=Mask(KEEP)))
    run = start_run(target.posterior, kernel, 16)
    for _ in range(40):
        run.step()
        x = target.posterior.displacement(run.position)
        assert float(x.norm(dim=-1).max()) <= 0.5 + 1e-9
        assert not bool(x[:, 1].any())
    assert float(x.std()) > 0.05


def test_hyperplane_follows_each_chains_own_centre_and_can_be_refreshed():
    loss = Potential(lambda w: 0.5 * (w * torch.tensor([1.0, 3.0]).double() * w).sum(-1), 2)
    centers = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double()
    posterior = LocalPosterior(loss, centers, n=2.0, beta=1.0, gamma=1.0, owner=[0, 1, 1])
    plane = GradientHyperplane()
    x = torch.ones(3, 2).double()
    normals = torch.tensor([[1.0, 0.0], [0.1**0.5, 0.9**0.5], [0.1**0.5, 0.9**0.5]]).double()
    expected = x - (x * normals).sum(-1, keepdim=True) * normals
    torch.testing.assert_close(plane.project(posterior, x), expected)
    centers.copy_(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(plane.project(posterior, x), expected)
    plane.refresh()
    torch.testing.assert_close(plane.project(posterior, x)[0], torch.tensor([1.0, 0.0]).double())


def test_at_a_minimum_there_is_no_hyperplane():
    with pytest.raises(InputError, match="no hyperplane"):
        GradientHyperplane().project(correlated().posterior, torch.ones(1, 4).double())


def test_mask_by_name():
    layout = ParameterLayout.of(
        [("a.weight", torch.zeros(2, 3)), ("a.bias", torch.zeros(2)), ("b.weight", torch.zeros(1))]
    )
    assert mask_for(layout, "a.*").tolist() == [True] * 8 + [False]
    assert mask_for(layout, ["*.bias", "b.*"]).tolist() == [False] * 6 + [True] * 3
    with pytest.raises(InputError, match=r"no parameter is called 'c\.\*'; there are a\.weight, a\.bias, b\.weight"):
        mask_for(layout, ["a.*", "c.*"])


def test_bad_constraints_are_refused():
    with pytest.raises(InputError, match="boolean"):
        Mask(torch.ones(3))
    with pytest.raises(InputError, match="keeps no weight"):
        Mask(torch.zeros(3, dtype=torch.bool))
    with pytest.raises(InputError, match="5 entries, the model 4"):
        Mask(torch.ones(5, dtype=torch.bool)).project(correlated().posterior, torch.zeros(1, 4).double())
    with pytest.raises(InputError, match="radius"):
        TrustRegion(0.0)
    with pytest.raises(InputError, match="one for all chains"):
        GradientHyperplane(Mask(torch.ones(2, 3, dtype=torch.bool)))
    with pytest.raises(InputError, match="knows no constraint but a mask"):
        SGLD(0.1, RMSprop(adapt=None), constraint=TrustRegion(1.0))


def test_chains_may_have_masks_of_their_own():
    target = gaussian("two", torch.eye(2).double(), 2.0, 1.0)
    keep = torch.tensor([[True, False], [False, True]])
    run = start_run(target.posterior, SGLD(0.1, constraint=Mask(keep)), 2)
    for _ in range(5):
        run.step()
    assert torch.equal(run.position != 0, keep)
