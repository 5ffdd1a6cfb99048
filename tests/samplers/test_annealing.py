"""Annealing and splitting against quadrature: E[tK], log Z and log volumes, group by group."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2

from samplers.analytic import LocalPotential
from samplers.annealing import Annealing, resample
from samplers.errors import InputError
from samplers.group_noise import Draws
from samplers.splitting import Splitting
from samplers.stein import controlled_mean
from slt import zoo

GAMMA = 25.0


def anneal(name: str, end: float, seed: int = 0, groups: int = 8, size: int = 256, first: int = 0) -> list:
    model = zoo.get(name)
    annealing = Annealing(
        LocalPotential(model.potential, model.center, GAMMA), groups=groups, size=size, seed=seed, first_group=first
    )
    stages = []
    while annealing.log_t < end:
        stages.append(annealing.advance(limit=end))
    return stages


@pytest.mark.parametrize(
    ("name", "end"),
    [("crossing-2-2", 30.0), ("norms-3-3", 20.0), ("sum-w2-w4", 30.0), ("tanh-1", 15.0), ("tanh-2", 30.0)],
)
def test_energies_and_free_energies_agree_with_quadrature(name, end):
    model, stages = zoo.get(name), anneal(name, end, groups=16, size=256)
    t = np.exp([stage.log_t for stage in stages])
    energy, log_z = model.mean_potential(t, GAMMA), -model.free_energy(t, GAMMA)
    for groups in (np.array([s.mean for s in stages]), np.array([s.raw_mean for s in stages])):
        error = groups.std(1, ddof=1) / math.sqrt(16)
        z = (groups.mean(1) - energy) / np.maximum(error, 2e-4 * energy)
        assert np.abs(z).max() < 4, z
    last = stages[-1].log_z
    assert abs(last.mean() - log_z[-1]) < 4 * last.std(ddof=1) / math.sqrt(16)


@pytest.mark.slow
def test_energies_of_norms_stay_right_far_down():
    """Where |u| is of order one the Hessian's small eigenvalues are rounding beside the large ones from log t = 60 on:
    a flow that takes them at their word loses these particles."""
    stages = anneal("norms-3-3", 78.0, seed=1)[-8:]
    model = zoo.get("norms-3-3")
    energy = model.mean_potential(np.exp([stage.log_t for stage in stages]), GAMMA)
    mean = np.array([stage.mean for stage in stages])
    z = (mean.mean(1) - energy) / (mean.std(1, ddof=1) / math.sqrt(8))
    assert np.abs(z).max() < 5, z  # 7 degrees of freedom


@cache
def quadratic_10() -> list:
    return anneal("quadratic-10", 30.0, size=128)


def test_control_removes_nearly_all_noise_of_a_quadratic():
    stage = quadratic_10()[-1]
    assert stage.variance < 1e-6 * stage.fluctuation
    assert stage.mean.mean() == pytest.approx(5.0, rel=1e-4)
    assert stage.raw_mean.std(ddof=1) > 100 * stage.mean.std(ddof=1)


def test_carrying_takes_fewer_stages():
    """Without the flow a stage is about one unit of log t wide at λ = 5; with it, as wide as allowed."""
    stages = [stage.log_t for stage in quadratic_10()]
    assert np.diff(stages)[8:-1].min() > 1.4


def test_groups_owe_nothing_to_each_other():
    together = anneal("crossing-2-2", 8.0)
    again = anneal("crossing-2-2", 8.0)
    assert all(
        np.array_equal(a.mean, b.mean) and np.array_equal(a.log_z, b.log_z)
        for a, b in zip(together, again, strict=True)
    )
    potential = LocalPotential(zoo.get("crossing-2-2").potential, torch.zeros(2), GAMMA)
    few = Annealing(potential, groups=2, size=256, seed=0, first_group=2).advance(0.0)
    many = Annealing(potential, groups=8, size=256, seed=0).advance(0.0)
    assert np.allclose(few.log_z, many.log_z[2:4], rtol=1e-12)


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    anneal("crossing-2-2", 0.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_overflow_at_t_up_to_1e282():
    """K = w⁸⁰ at t = e^650: λ = 1/80, widths from 0.2 to e^-8."""
    potential = LocalPotential(lambda w: w[..., 0] ** 80, torch.zeros(1), GAMMA)
    annealing = Annealing(potential, groups=8, size=128, seed=0)
    while annealing.log_t < 650.0:
        stage = annealing.advance()
        assert np.isfinite(np.concatenate([stage.mean, stage.log_z])).all()
    error = stage.mean.std(ddof=1) / math.sqrt(8)
    assert abs(stage.mean.mean() - 1 / 80) < 4 * error + 1e-5


def test_misuse_is_one_line():
    potential = LocalPotential(lambda w: w.square().sum(-1), torch.zeros(1), GAMMA)
    annealing = Annealing(potential, groups=2, size=8, seed=0)
    stage = annealing.advance(0.0)
    with pytest.raises(InputError, match="log t must grow"):
        annealing.advance(-1.0)
    with pytest.raises(InputError, match="log t must grow"):
        annealing.advance(700.0)
    with pytest.raises(InputError, match="one temperature"):
        stage.joined(annealing.advance(1.0))
    with pytest.raises(InputError, match="at least 2 groups"):
        Annealing(potential, groups=1, size=8, seed=0)
    with pytest.raises(InputError, match="at least 2 groups"):
        Splitting(potential, groups=2, size=4, seed=0)


def test_resampling_is_systematic():
    """Every particle has n·w copies, rounded up or down, and n·w on average."""
    weights = torch.tensor([[0.5, 0.3, 0.2, 0.0]], dtype=torch.float64).repeat(1, 25) / 25
    draws = Draws(0, range(1), 100)
    counts = torch.stack([torch.bincount(resample(weights, draws)[0], minlength=100) for _ in range(400)]).double()
    expected = 100 * weights[0]
    assert bool(((counts - expected).abs() < 1).all())
    error = (counts.std(0) / 20).clamp(min=1e-9)
    assert float(((counts.mean(0) - expected) / error).abs().max()) < 4.5


def test_contradicted_control_is_dropped():
    """Particles that do not have the density a column assumes must not be corrected by it."""
    generator = torch.Generator().manual_seed(0)
    column = torch.randn(8 * 200, 1, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(8 * 200, generator=generator, dtype=torch.float64)
    sound = controlled_mean(1 + column[:, 0] + noise, [column], 8)
    assert sound.variance < 0.02 * sound.raw_variance
    assert sound.violation < 4
    shifted = controlled_mean(1 + column[:, 0] + noise, [column + 3], 8)
    assert shifted.violation > 10
    assert shifted.mean.mean() == pytest.approx(1.0, abs=0.1)  # the plain mean; controlled it would be -2


@pytest.mark.parametrize(("z", "refused"), [(4.0, False), (12.0, True)])
def test_control_is_refused_by_students_quantile(z, refused):
    """A column whose mean is z standard errors from zero: 4 over 8 groups is chance (p = 0.005), 12 is not (6e-6)."""
    generator = torch.Generator().manual_seed(0)
    within = torch.randn(8, 200, generator=generator, dtype=torch.float64)
    between = torch.randn(8, generator=generator, dtype=torch.float64)
    between = 0.07 * (between - between.mean()) / between.std() + z * 0.07 / math.sqrt(8)
    column = (within - within.mean(1, keepdim=True) + between[:, None]).reshape(-1, 1)
    noise = 0.1 * torch.randn(8 * 200, generator=generator, dtype=torch.float64)
    found = controlled_mean(1 + column[:, 0] + noise, [column], 8)
    plain = 1 + z * 0.07 / math.sqrt(8)
    assert found.mean.mean() == pytest.approx(plain if refused else 1.0, abs=4 * 0.1 / math.sqrt(1600))


def test_the_best_control_is_taken_that_nothing_contradicts():
    """tK of variance 1, of which one set of columns leaves 0.2 and the other 0.1."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(8 * 400, 3, generator=generator, dtype=torch.float64)
    parts = parts * torch.tensor([0.8, 0.1, 0.1], dtype=torch.float64).sqrt()
    for sets in ([parts[:, :1], parts[:, :2]], [parts[:, :2], parts[:, :1]]):
        assert controlled_mean(1 + parts.sum(1), sets, 8).variance == pytest.approx(0.1, rel=0.1)


def split(potential, levels: int) -> tuple[np.ndarray, np.ndarray]:
    splitting = Splitting(potential, groups=8, size=512, seed=0)
    found = [splitting.advance() for _ in range(levels)]
    assert all(level is not None and level.resolved for level in found)
    return np.array([level.log_epsilon for level in found]), np.array([level.log_volume for level in found])


def check_volumes(log_volume: np.ndarray, exact: np.ndarray) -> None:
    z = (log_volume.mean(1) - exact) / (log_volume.std(1, ddof=1) / math.sqrt(8))
    assert np.abs(z).max() < 6, z  # 7 degrees of freedom
    assert abs(z[-1]) < 4


def test_volumes_of_a_quadratic():
    """P(½|w|² < ε) is a χ² distribution function."""
    potential = LocalPotential(lambda w: 0.5 * w.square().sum(-1), torch.zeros(4), GAMMA)
    log_epsilon, log_volume = split(potential, 9)
    check_volumes(log_volume, chi2.logcdf(2 * GAMMA * np.exp(log_epsilon), 4))


def test_volumes_of_a_crossing():
    """P(x²y² < ε) = ∫ φ(x) P(|y| < √ε/|x|) dx."""
    potential = LocalPotential(lambda w: (w[..., 0] * w[..., 1]).square(), torch.zeros(2), GAMMA)
    log_epsilon, log_volume = split(potential, 11)

    def volume(log_eps: float) -> float:
        root = math.exp(0.5 * log_eps) * GAMMA
        density = lambda s: math.exp(s - 0.5 * math.exp(2 * s)) * math.erf(root * math.exp(-s) / math.sqrt(2))  # noqa: E731
        return (
            2 / math.sqrt(2 * math.pi) * quad(density, -60, 4, limit=500, points=[0.5 * log_eps + math.log(GAMMA)])[0]
        )

    check_volumes(log_volume, np.log([volume(value) for value in log_epsilon]))


def test_splitting_ends_where_the_potential_vanishes():
    flat = LocalPotential(lambda w: torch.relu(w[..., 0] - 0.1).square(), torch.zeros(1), GAMMA)
    splitting = Splitting(flat, groups=2, size=64, seed=0)
    assert splitting.advance() is None
