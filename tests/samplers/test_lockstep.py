"""Programs in lockstep: the same bits as alone, one pass for all who ask, and no more at once than wanted."""

import pytest
import torch
from torch import nn

from samplers.engine import ModuleLoss
from samplers.hmc import HMC
from samplers.lockstep import programs_at_once, run_in_lockstep
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from slt.losses import gaussian_loss
from slt.task import DataSource


def small_loss(model=None, n=64):
    order = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=order)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model or nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    return ModuleLoss(model, gaussian_loss(1.0), DataSource((x, x[:, :1])))


def chains(loss, evaluate, center, steps):
    """Positions of 4 chains after some trajectories; `evaluate` gives L and its gradient."""

    class Asking:
        dimension = loss.dimension
        value = staticmethod(loss.value)

        @staticmethod
        def value_and_grad(w, index=None):
            return evaluate(w) if len(w) > 1 else loss.value_and_grad(w)

    posterior = LocalPosterior(Asking(), center, n=64, beta=0.5, gamma=5.0)
    noise = ChainNoise(0, 4)
    kernel = HMC(0.01, 3)
    state = kernel.init(posterior, posterior.draw_localizer(4, noise))
    for _ in range(steps):
        state, _ = kernel.step(posterior, state, None, noise)
    return state.position


def test_the_same_bits_as_alone_whatever_runs_beside():
    loss = small_loss()
    centers = [loss.center + 0.1 * k for k in range(7)]
    alone = [chains(loss, loss.value_and_grad, center, 5 + k) for k, center in enumerate(centers)]
    for at_once in (1, 3, 7):
        programs = [
            lambda ask, k=k, center=center: chains(loss, ask, center, 5 + k) for k, center in enumerate(centers)
        ]
        together = dict(run_in_lockstep(loss, programs, at_once))
        assert all(torch.equal(together[k], expected) for k, expected in enumerate(alone))


def test_one_pass_answers_all_who_ask_and_a_free_place_is_taken():
    loss, sizes = small_loss(), []

    class Counting:
        @staticmethod
        def value_and_grad(w):
            sizes.append(len(w))
            return loss.value_and_grad(w)

    def program(questions):
        def run(ask):
            for _ in range(questions):
                ask(loss.center.expand(2, -1))
            return questions

        return run

    ended = list(run_in_lockstep(Counting(), [program(k) for k in (3, 1, 0, 2)], 2))
    assert sizes == [4, 4, 4]  # 3 | 1 and then 2, in the place that the second and third left
    assert dict(ended) == {0: 3, 1: 1, 2: 0, 3: 2}


def test_what_a_program_raises_is_raised_and_grad_mode_is_its_own():
    loss, modes = small_loss(), []

    def quiet(ask):
        with torch.no_grad():
            ask(loss.center.expand(2, -1))
            modes.append(torch.is_grad_enabled())
        ask(loss.center.expand(2, -1))
        modes.append(torch.is_grad_enabled())

    def loud(ask):
        ask(loss.center.expand(2, -1))
        modes.append(torch.is_grad_enabled())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(run_in_lockstep(loss, [quiet, loud], 2))
    assert modes == [False, True]
    assert torch.is_grad_enabled()


def test_sharing_where_it_gains_and_changes_nothing():
    assert programs_at_once(small_loss(), 4) > 1
    assert programs_at_once(small_loss(), 1) == 1
    assert programs_at_once(small_loss(n=1 << 14), 8) == 1  # a pass is arithmetic, not overhead
    normalized = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    assert programs_at_once(small_loss(normalized), 4) == 1  # w is not all that tells two checkpoints apart
    frozen = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    frozen[0].requires_grad_(False)
    assert programs_at_once(small_loss(frozen), 4) == 1


def test_no_sharing_where_rows_are_not_independent_to_the_bit():
    loss = small_loss()
    honest = loss.value_and_grad
    loss.value_and_grad = lambda w, index=None: tuple(part + 1e-12 * len(w) for part in honest(w, index))
    assert programs_at_once(loss, 4) == 1
