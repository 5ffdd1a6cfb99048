"""The ladder of temperatures: exact degenerate cases, closed forms and quadrature at every rung, even placement."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from samplers.batches import Batches
from samplers.engine import ModuleLoss, Potential
from samplers.errors import InputError
from samplers.gradient import ControlVariate
from samplers.hmc import HMC
from samplers.ladder_trace import LadderTrace
from samplers.ladder_warmup import warm_up_ladder
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.sgld import SGLD
from samplers.tempering import Ladder, ReplicaExchange, place_rungs
from slt import zoo
from slt.diagnostics import summarize_mean
from slt.losses import gaussian_loss
from slt.task import DataSource


def posterior_of(function, dimension: int, n: float, gamma: float = 1.0) -> LocalPosterior:
    center = torch.zeros(dimension, dtype=torch.float64)
    return LocalPosterior(Potential(function, dimension), center, n=n, beta=1.0, gamma=gamma)


def exchange(posterior: LocalPosterior, beta: list[float], replicas: int, kernel_at, **knobs) -> ReplicaExchange:
    rungs = len(beta) - 1
    noise = ChainNoise(0, rungs * replicas)
    bottom = ChainNoise(0, range(rungs * replicas, (rungs + 1) * replicas))
    position = posterior.tempered(0.0).draw_localizer(rungs * replicas, noise)
    ladder = Ladder(np.array(beta), np.full(rungs, 0.1))
    knobs = {"batches": Batches(10, None, 0), **knobs}
    return ReplicaExchange(posterior, kernel_at, ladder, position, noise=noise, bottom_noise=bottom, **knobs)


def hmc(rows: Tensor) -> HMC:
    return HMC(rows, 4)


def test_where_the_loss_never_changes_every_exchange_is_accepted_and_draws_climb_a_rung_a_sweep():
    run = exchange(posterior_of(lambda w: 0 * w.sum(-1) + 3.0, 2, 100.0), [0.0, 0.1, 0.5, 0.7, 1.0], 3, hmc)
    trace = run.advance(20)
    assert (trace.loss == 3.0).all()
    assert (trace.rejection == 0).all()
    # A draw enters at sweeps 0, 2, 4, ... and moves up at every sweep after: at the top after 4.
    assert trace.round_trips.tolist() == [9, 9, 9]


def test_exchanges_move_whole_states(quadratic):
    posterior = posterior_of(lambda w: 0.5 * w.square().sum(-1), 3, 50.0)
    run = exchange(posterior, [0.0, 0.3, 1.0], 4, hmc)
    for _ in range(10):
        run.sweep()
        loss, gradient = posterior.loss.value_and_grad(run.state.position)
        assert torch.equal(loss, run.state.loss)
        assert torch.equal(gradient, run.state.gradient)


def test_every_rung_of_a_quadratic_has_the_loss_and_the_spread_of_the_closed_form():
    h, n, gamma = torch.logspace(-2, 1, 6, dtype=torch.float64), 3000, 2.0
    posterior = posterior_of(lambda w: 0.5 * (h * w.square()).sum(-1), 6, n, gamma)
    trace = warm_up_ladder(posterior, seed=1, replicas=8, n_data=10).exchange.advance(250)
    assert trace.loss.shape == (8, 250, len(trace.beta))
    for k, beta in enumerate(trace.beta):
        a = n * beta * h + gamma
        for values, exact in ((trace.loss, 0.5 * (h / a).sum()), (trace.distance, (1 / a).sum())):
            summary = summarize_mean(values[:, :, k])
            assert abs(summary.mean - float(exact)) < 4 * summary.std_error
    bottom = trace.loss[:, :, 0]  # independent draws: no correlation from one to the next
    correlation = np.corrcoef(bottom[:, :-1].ravel(), bottom[:, 1:].ravel())[0, 1]
    assert abs(correlation) < 4 / math.sqrt(bottom.size)


@pytest.mark.parametrize("name", ["crossing-2-2", "crossing-4-4"])
def test_a_singular_potential_from_the_localizer_to_a_million(name):
    model, t = zoo.get(name), 1e6
    posterior = LocalPosterior(Potential(model.potential, model.dimension), model.center, n=t, beta=1.0, gamma=1.0)
    trace = warm_up_ladder(posterior, seed=0, replicas=8, n_data=10).exchange.advance(300)
    for k in range(1, len(trace.beta)):
        summary = summarize_mean(t * trace.beta[k] * trace.loss[:, :, k])
        assert abs(summary.mean - model.mean_potential(t * trace.beta[k])) < 4 * summary.std_error
    assert trace.round_trips.min() > 0


def test_two_wells_that_a_chain_cannot_leave_keep_their_weights():
    def wells(w: Tensor) -> Tensor:  # a narrow well at -1 and a wide one at +1, 150 nats between them
        return torch.minimum(8 * (w[..., 0] + 1) ** 2, 0.5 * (w[..., 0] - 1) ** 2 + 0.002)

    n = 120.0
    posterior = posterior_of(wells, 1, n)
    run = warm_up_ladder(posterior, seed=0, replicas=8, n_data=10).exchange
    right = []
    for _ in range(400):
        run.sweep()
        right.append((run.at_rung(run.ladder.rungs)[:, 0] > -0.6).double())
    summary = summarize_mean(torch.stack(right, dim=1).numpy())
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)[:, None]
    weight = torch.exp(-n * wells(grid) - 0.5 * grid[:, 0] ** 2)
    exact = float(weight[grid[:, 0] > -0.6].sum() / weight.sum())
    assert 0.2 < exact < 0.8
    assert abs(summary.mean - exact) < 4 * summary.std_error
    assert summary.std_error < 0.05


def test_a_minibatch_kernel_with_control_variates_runs_under_the_ladder(quadratic):
    model, data, h = quadratic
    function = ModuleLoss(model, gaussian_loss(1.0), DataSource(data, dtype=torch.float64), dtype=torch.float64)
    gamma, n = 10.0, function.data.n
    posterior = LocalPosterior(function, function.center, n=n, beta=1.0, gamma=gamma)
    estimator, step = ControlVariate(), 2e-3

    def kernel_at(rows: Tensor) -> SGLD:
        return SGLD(rows, gradient=estimator)

    run = exchange(posterior, [0.0, 0.05, 0.2, 1.0], 16, kernel_at, batches=Batches(n, 50, 0), steps=10)
    run.use_step_sizes(np.full(3, step))
    run.advance(50)
    trace = run.advance(400)
    assert np.isnan(trace.acceptance).all()
    for k in (1, 2, 3):
        a = n * trace.beta[k] * h + gamma
        exact, biased = (float(0.5 * (h / (a * (1 - e * a / 4))).sum()) for e in (0.0, step))
        summary = summarize_mean(trace.loss[:, :, k])
        # The kernel of the rung inflates its loss by up to `biased`; exchanges bring draws of the others.
        assert exact - 4 * summary.std_error < summary.mean < biased + 4 * summary.std_error


def test_rungs_are_placed_at_equal_steps_of_the_barrier():
    beta = np.array([0.0, 1e-3, 1e-2, 1e-1, 1.0])
    even = place_rungs(beta, np.array([0.4, 1.2, 0.4, 0.8]), [1.0], 0.4)
    assert len(even) == 8
    np.testing.assert_allclose(even[1], 1e-3)
    np.testing.assert_allclose(np.diff(np.log10(even[1:])), [1 / 3, 1 / 3, 1 / 3, 1, 0.5, 0.5], rtol=1e-9)
    through = place_rungs(beta, np.array([0.4, 1.2, 0.4, 0.8]), [0.05, 1.0], 0.4)
    assert through[0] == 0
    assert through[-1] == 1.0
    assert 0.05 in through
    assert (np.diff(through) > 0).all()


def test_measured_rejections_come_out_even():
    model = zoo.get("quadratic-10-ill")
    posterior = LocalPosterior(Potential(model.potential, 10), model.center, n=1e4, beta=1.0, gamma=1.0)
    run = warm_up_ladder(posterior, seed=0, replicas=16, n_data=10, through=(0.01,)).exchange
    trace = run.advance(150)
    assert 0.01 in trace.beta
    assert trace.rejection.max() < 0.5
    assert trace.rejection.std() < 0.06
    assert (trace.acceptance > 0.6).all()
    assert trace.step_size[-1] < trace.step_size[0]  # stiffer at the top


def test_a_seed_fixes_every_bit_and_the_global_randomness_is_left_alone():
    posterior = posterior_of(lambda w: (w[..., 0] * w[..., 1]) ** 2, 2, 1e4)
    state = torch.get_rng_state()
    runs = [warm_up_ladder(posterior, seed=s, replicas=2, n_data=10).exchange.advance(5) for s in (3, 3, 4)]
    assert np.array_equal(runs[0].loss, runs[1].loss)
    assert not np.array_equal(runs[0].loss[:, -1, 0], runs[2].loss[:, -1, 0])
    assert torch.equal(state, torch.get_rng_state())


def test_a_trace_survives_the_disk_and_pieces_join(tmp_path):
    run = exchange(posterior_of(lambda w: 0.5 * w.square().sum(-1), 2, 50.0), [0.0, 0.3, 1.0], 2, hmc)
    first, second = run.advance(6), run.advance(4)
    whole = first.followed_by(second)
    assert whole.loss.shape == (2, 10, 3)
    assert np.array_equal(whole.loss[:, 6:], second.loss)
    np.testing.assert_allclose(whole.rejection, 0.6 * first.rejection + 0.4 * second.rejection)
    assert np.array_equal(whole.round_trips, second.round_trips)
    whole.save(tmp_path / "ladder.nc")
    read = LadderTrace.load(tmp_path / "ladder.nc")
    for name in ("loss", "distance", "beta", "acceptance", "rejection", "step_size", "round_trips"):
        assert np.array_equal(getattr(read, name), getattr(whole, name))


def test_what_a_ladder_refuses():
    with pytest.raises(InputError, match="ascends from beta = 0"):
        Ladder(np.array([0.1, 1.0]), np.ones(1))
    with pytest.raises(InputError, match="ascends from beta = 0"):
        Ladder(np.array([0.0, 1.0, 1.0]), np.ones(2))
    with pytest.raises(InputError, match="as many step sizes"):
        Ladder(np.array([0.0, 1.0]), np.ones(2))
    loss = Potential(lambda w: w.square().sum(-1), 2)
    centers = torch.zeros(2, 2, dtype=torch.float64)
    several = LocalPosterior(loss, centers, n=10, beta=1.0, gamma=1.0, owner=[0, 1])
    ladder = Ladder(np.array([0.0, 1.0]), np.ones(1))
    knobs = {"noise": ChainNoise(0, 2), "bottom_noise": ChainNoise(0, [2, 3]), "batches": Batches(10, None, 0)}
    with pytest.raises(InputError, match="one centre"):
        ReplicaExchange(several, hmc, ladder, centers, **knobs)
    single = LocalPosterior(loss, centers[0], n=10, beta=1.0, gamma=1.0)
    with pytest.raises(InputError, match="needs 2 positions"):
        ReplicaExchange(single, hmc, ladder, centers[:1], **knobs)
