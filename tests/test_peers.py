"""Peers mean by their step size, inverse temperature and localization what this toolkit means: on a quadratic.

L = ½ Σ h_i w_i², a_i = nβ h_i + γ, all samples in every step: a Langevin step ε gives
nβ E[L] = ½ Σ nβ h_i / (a_i (1 - ε a_i/4)), and an exact sampler the same at ε = 0. The step's bias is a quarter of the
answer: a factor of two in any convention would show.
"""

import math

import numpy as np
import pytest
import torch

import slt
from benchmarks.peers.client import PEERS, Peer, PeerError, missing
from benchmarks.peers.models import mlp
from benchmarks.peers.spec import Problem, Spec
from samplers.sgld import SGLD
from slt.linearized import quadratic_llc
from slt.losses import cross_entropy

N_BETA, GAMMA, STEP_SIZE = 30.0, 2.0, 0.04
CURVATURE = torch.tensor([1.0, 0.3, 0.1, 0.0], dtype=torch.float64)
SPEC = Spec("mlp", {"widths": [4, 1], "bias": False}, N_BETA, GAMMA, STEP_SIZE, chains=8, draws=1000, burn_in=100)
SAMPLES = 64


def quadratic():
    """A linear model at w* = 0, inputs whose second moments are diag(h), targets 0."""
    model = mlp([4, 1], bias=False).double()
    with torch.no_grad():
        model[0].weight.zero_()
    generator = torch.Generator().manual_seed(0)
    orthonormal, _ = torch.linalg.qr(torch.randn(SAMPLES, 4, generator=generator, dtype=torch.float64))
    return model, orthonormal * (SAMPLES * CURVATURE).sqrt(), torch.zeros(SAMPLES, 1, dtype=torch.float64)


def exact(step_size):
    a = N_BETA * CURVATURE + GAMMA
    return 0.5 * float((N_BETA * CURVATURE / (a * (1 - step_size * a / 4))).sum())


def test_the_closed_form_is_the_toolkits_own():
    assert exact(0.0) == pytest.approx(quadratic_llc(CURVATURE, N_BETA, GAMMA), rel=1e-12)
    assert exact(STEP_SIZE) > 1.2 * exact(0.0)


def test_the_toolkit_at_a_specs_settings():
    model, x, y = quadratic()
    estimate = slt.estimate_llc(
        model, (x, y), slt.gaussian_loss(1.0), sampler=SGLD(STEP_SIZE), chains=SPEC.chains, draws=SPEC.draws,
        warmup=SPEC.burn_in, batch_size=SAMPLES, gamma=GAMMA, beta=N_BETA / SAMPLES, extrapolate=False, progress=False,
    )  # fmt: skip
    chains = N_BETA * (estimate.trace.loss - estimate.trace.center_loss).mean(1)
    assert abs(float(chains.mean()) - exact(STEP_SIZE)) < 4 * float(chains.std()) / math.sqrt(SPEC.chains)


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_conventions(name):
    if reason := missing(name):
        pytest.skip(reason)
    nuts = name == "pyro"
    spec = Spec(**{**vars(SPEC), "sampler": "nuts", "draws": 200, "chains": 3} if nuts else vars(SPEC))
    model, x, y = quadratic()
    with Peer(name) as peer:
        found = peer.estimate(spec, model.state_dict(), x, y)
    expected = exact(0.0 if nuts else STEP_SIZE)
    # the error from the autocorrelation of the losses themselves: a few chains alone are a poor estimate of it
    error = N_BETA * float(np.mean([batch_means_error(losses) for losses in found.losses])) / math.sqrt(spec.chains)
    assert 0 < error < 0.06 * expected
    assert abs(found.llc - expected) < 4 * error
    assert found.llc == pytest.approx(np.mean(found.chains), rel=1e-5)
    assert found.running(N_BETA)[-1] == pytest.approx(found.llc, rel=1e-4)
    assert 0 < found.sampling_seconds <= found.seconds
    assert found.std == pytest.approx(np.std(found.chains, ddof=1))


def batch_means_error(losses, batches=20):
    """Standard error of the mean of one chain, by means over stretches longer than its memory."""
    means = losses[: len(losses) // batches * batches].reshape(batches, -1).mean(1)
    return means.std(ddof=1) / math.sqrt(batches)


def test_both_sides_build_the_same_model(tmp_path):
    model = mlp([3, 5, 2], "tanh")
    x, y = torch.randn(7, 3), torch.randint(0, 2, (7,))
    arrays = {f"weights/{name}": value.numpy() for name, value in model.state_dict().items()}
    np.savez(tmp_path / "arrays.npz", inputs=x.numpy(), targets=y.numpy(), **arrays)
    spec = Spec(
        "mlp", {"widths": [3, 5, 2], "activation": "tanh"}, 1.0, 1.0, 0.1, 1, 1, 0, loss="cross-entropy",
        dtype="float64",
    )  # fmt: skip
    problem = Problem.of(spec, str(tmp_path / "arrays.npz"))
    with torch.no_grad():
        assert torch.equal(problem.model(problem.inputs), model.double()(x.double()))
        expected = float(cross_entropy(model(x.double()), y).mean())
    assert problem.loss_at_center() == pytest.approx(expected)


def test_a_peer_that_fails_says_why():
    name = next((name for name in PEERS if not missing(name)), None)
    if name is None:
        pytest.skip("no peer is installed: `make peers`")
    model, x, y = quadratic()
    with Peer(name) as peer, pytest.raises(PeerError, match=name):
        peer.estimate(Spec(**{**vars(SPEC), "loss": "no such loss"}), model.state_dict(), x, y)
