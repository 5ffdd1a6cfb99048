"""Every move leaves the density it is told invariant: exact draws stay exact, in every moment looked at."""

import math

import pytest
import torch
from scipy.stats import gamma as gamma_law
from torch import Tensor

from samplers.analytic import Below, LocalPotential, Tempered
from samplers.group_noise import Draws
from samplers.moves import Particles, hamiltonian, refresh, rescale
from samplers.newton_moves import newton, newton_block

GAMMA, T = 2.0, 200.0
GROUPS, SIZE = 64, 512
POTENTIAL = LocalPotential(lambda w: (w[..., 0] * w[..., 1]).square(), torch.zeros(2), GAMMA)


def exact_draws(t: float, draws: Draws) -> Tensor:
    """From ∝ exp(-t x²y² - γ/2 (x² + y²)): x by inversion of its marginal, y given x is Gaussian."""
    grid = torch.linspace(0, 8, 400_001, dtype=torch.float64)
    density = torch.exp(-0.5 * GAMMA * grid.square()) / (GAMMA + 2 * t * grid.square()).sqrt()
    cumulative = torch.cat([torch.zeros(1).double(), (0.5 * (density[1:] + density[:-1])).cumsum(0)])
    u = draws.uniform() * cumulative[-1]
    i = torch.searchsorted(cumulative, u, right=True).clamp(1, len(grid) - 1)
    x = grid[i - 1] + (u - cumulative[i - 1]) / (cumulative[i] - cumulative[i - 1]) * (grid[1] - grid[0])
    x = x * torch.where(draws.uniform() < 0.5, -1.0, 1.0)
    y = draws.normal() / (GAMMA + 2 * t * x.square()).sqrt()
    return torch.stack([x, y], -1)


def statistics(u: Tensor, value: Tensor) -> Tensor:
    """Energy and its log, second moments, log scales: (N, 6)."""
    logs = u.abs().log()
    return torch.stack(
        [T * value, (T * value).log(), u[:, 0].square(), u[:, 1].square(), logs[:, 0], (logs[:, 0] - logs[:, 1]).abs()],
        -1,
    )


def move(name: str, density, particles: Particles, draws: Draws) -> Particles:
    if name == "rescale":
        return rescale(POTENTIAL, density, particles, draws)[0]
    if name == "newton":
        return newton(POTENTIAL, density, particles, draws, 2)[0]
    if name == "blocks":  # in the first K is quadratic, in the second it is not
        for block in (slice(0, 1), slice(0, 2)):
            particles = newton_block(POTENTIAL, density, particles, draws, block)[0]
        return particles
    scale = torch.tensor([0.3, 1.7], dtype=torch.float64) if name == "hamiltonian, scaled" else 1.0
    return hamiltonian(POTENTIAL, density, refresh(POTENTIAL, particles), draws, scale)[0]


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("name", ["rescale", "hamiltonian", "hamiltonian, scaled", "newton", "blocks"])
def test_exact_draws_stay_exact(name, restricted):
    draws = Draws(3, range(GROUPS), SIZE)
    if restricted:  # uniform localizer draws below the ceiling: by rejection
        density, ceiling = Below(1e-3, T, GAMMA), 1e-3
        u = POTENTIAL.draw(Draws(4, range(GROUPS), 16 * SIZE)).reshape(GROUPS, -1, 2)
        inside = POTENTIAL.value(u.flatten(0, 1)).reshape(GROUPS, -1) < ceiling
        assert int(inside.sum(1).min()) >= SIZE
        u = torch.cat([row[keep][:SIZE] for row, keep in zip(u, inside, strict=True)])
    else:
        density = Tempered(T, GAMMA)
        u = exact_draws(T, draws)
    start = refresh(POTENTIAL, Particles(u, POTENTIAL.value(u), torch.zeros_like(u)))
    particles = start
    for _ in range(6):
        particles = move(name, density, particles, draws)
    moved = (particles.u != start.u).any(1).double().mean()
    assert moved > 0.7, f"{name} hardly moves anything"
    change = statistics(particles.u, particles.value) - statistics(start.u, start.value)
    by_group = change.reshape(GROUPS, SIZE, -1).mean(1)
    z = by_group.mean(0) / (by_group.std(0) / math.sqrt(GROUPS))
    assert float(z.abs().max()) < 4, z


def test_a_refused_move_changes_nothing():
    density = Below(0.0, T, GAMMA)  # nothing lies below zero
    u = POTENTIAL.draw(Draws(1, range(2), 16))
    particles = Particles(u, *POTENTIAL.value_and_grad(u))
    for name in ("rescale", "hamiltonian", "newton", "blocks"):
        assert torch.equal(move(name, density, particles, Draws(2, range(2), 16)).u, u)


def test_leapfrog_steps_fit_a_high_power():
    """K = u⁶⁰: half of the particles have tK < 1e-18, and no gradient that tells how far the wall is."""
    t, gamma = math.exp(300), 1e-6  # the localizer is flat to 1e-10 within e^(-300/60)
    potential = LocalPotential(lambda w: w[..., 0] ** 60, torch.zeros(1), gamma)
    draws = Draws(8, range(GROUPS), SIZE)
    level = torch.as_tensor(gamma_law.ppf(draws.uniform().numpy(), 1 / 60)).clamp(min=1e-280)
    assert 0.4 < float((level < 1e-18).double().mean()) < 0.6
    u = ((level.log() - 300) / 60).exp()[:, None] * torch.where(draws.uniform(1) < 0.5, -1.0, 1.0)
    start = Particles(u, *potential.value_and_grad(u))
    particles, rates = start, []
    for _ in range(4):
        particles, rate = hamiltonian(potential, Tempered(t, gamma), particles, draws)
        rates.append(rate)
    assert min(rates) > 0.4, "steps as long as the gradient of K says are refused 49 times of 50"
    change = (particles.u.abs().log() - start.u.abs().log()).reshape(GROUPS, -1).mean(1)
    energy = (t * (particles.value - start.value)).reshape(GROUPS, -1).mean(1)
    for by_group in (change, energy):
        assert abs(float(by_group.mean() / by_group.std())) * math.sqrt(GROUPS) < 4


def test_newton_draws_a_gaussian_afresh():
    """On a quadratic, one step with ε = 1 and an unbounded metric is an exact draw whatever the condition number."""
    h = torch.tensor([1e-3, 1e9], dtype=torch.float64)
    potential = LocalPotential(lambda w: 0.5 * (h * w.square()).sum(-1), torch.zeros(2), 1.0)
    draws = Draws(5, range(64), 128)
    u = potential.draw(draws)  # far too wide in the second coordinate
    particles = Particles(u, *potential.value_and_grad(u))
    particles = newton(potential, Tempered(1.0, 1.0), particles, draws, 8)[0]
    scaled = particles.u * (h + 1).sqrt()
    second = scaled.square().reshape(64, 128, 2).mean(1)
    z = (second.mean(0) - 1) / (second.std(0) / 8)
    assert float(z.abs().max()) < 4, z


def test_a_block_in_which_the_potential_is_quadratic_is_drawn_afresh():
    """Whatever the others are: x given y is Gaussian with precision 2ty² + γ, and half of the moves forget the last."""
    draws = Draws(6, range(GROUPS), SIZE)
    y = draws.normal().abs() + 0.1
    start = torch.stack([torch.full_like(y, 3.0), y], -1)  # far out
    particles, rate = Particles(start, *POTENTIAL.value_and_grad(start)), 0.0
    for _ in range(12):
        particles, rate = newton_block(POTENTIAL, Tempered(T, GAMMA), particles, draws, slice(0, 1))
    assert torch.equal(particles.u[:, 1], y)
    assert rate > 0.98
    second = (particles.u[:, 0].square() * (2 * T * y.square() + GAMMA)).reshape(GROUPS, SIZE).mean(1)
    assert abs(float(second.mean() - 1) / float(second.std() / math.sqrt(GROUPS))) < 4


def test_blocks_are_runs_of_every_length_and_place_and_the_same_for_all_groups():
    draws, others = Draws(7, range(2), 8), Draws(7, range(5, 6), 8)
    found = [draws.neighbours(5) for _ in range(200)]
    assert found == [others.neighbours(5) for _ in range(200)]
    assert {(block.start, block.stop) for block in found} == {(0, 2), (1, 3), (2, 4), (3, 5)}
    assert {block.stop - block.start for block in (draws.neighbours(8) for _ in range(200))} == {2, 3, 4}
