"""Analytic potentials: derivatives against closed forms, and what cannot be used is refused in one line."""

import pytest
import torch

from samplers.analytic import LocalPotential, Tempered
from samplers.errors import InputError
from samplers.group_noise import Draws
from samplers.moves import Curvature, Particles
from samplers.newton_flow import newton_flow

ORIGIN = torch.zeros(2, dtype=torch.float64)
POINTS = torch.tensor([[0.5, 0.25], [-0.3, 1.0], [2.0, -1.5]], dtype=torch.float64)


def quartic(w):
    return (w[..., 0] * w[..., 1]) ** 2 + w[..., 0] ** 4


def test_derivatives_match_closed_forms():
    potential = LocalPotential(quartic, ORIGIN, 4.0)
    x, y = POINTS.unbind(-1)
    value, gradient, hessian = potential.value_grad_hessian(POINTS)
    assert torch.allclose(value, x**2 * y**2 + x**4)
    assert torch.allclose(gradient, torch.stack([2 * x * y**2 + 4 * x**3, 2 * x**2 * y], -1))
    expected = torch.stack([2 * y**2 + 12 * x**2, 4 * x * y, 4 * x * y, 2 * x**2], -1).reshape(-1, 2, 2)
    assert torch.allclose(hessian, expected)
    identity = torch.eye(2, dtype=torch.float64).expand(3, -1, -1)
    third = potential.third_derivatives(POINTS, identity, identity)  # ∇K_xx and ∇K_yy
    zero = torch.zeros_like(x)
    assert torch.allclose(third[:, 0], torch.stack([24 * x, 4 * y], -1))
    assert torch.allclose(third[:, 1], torch.stack([4 * x, zero], -1))


def test_a_constant_hessian_has_no_third_derivative():
    potential = LocalPotential(lambda w: w.square().sum(-1), ORIGIN, 1.0)
    identity = torch.eye(2, dtype=torch.float64).expand(3, -1, -1)
    assert potential.smooth
    assert float(potential.third_derivatives(POINTS, identity, identity).abs().max()) == 0.0


def test_overflow_is_an_infinite_potential_with_no_slope():
    potential = LocalPotential(lambda w: torch.expm1(w.square().sum(-1)), ORIGIN, 1.0)
    value, gradient = potential.value_and_grad(torch.tensor([[1.0, 0.0], [1e3, 0.0]], dtype=torch.float64))
    assert value.tolist() == [pytest.approx(1.718281828), torch.inf]
    assert gradient[1].tolist() == [0.0, 0.0]


def test_rounding_is_that_of_the_point():
    potential = LocalPotential(lambda w: (w[..., 0] - 1).square(), torch.ones(1), 1.0)
    error = potential.rounding(torch.full((64, 1), 1e-4, dtype=torch.float64), Draws(0, range(2), 32))
    assert float(error.max()) == pytest.approx(2 * 1e-4 * 2.2e-16, rel=0.05)  # K' times the spacing of floats at 1


def test_the_flow_has_the_jacobian_of_autograd():
    potential = LocalPotential(quartic, ORIGIN, 4.0)
    density = Tempered(30.0, 4.0)

    def flow(points):
        value, gradient, hessian = potential.value_grad_hessian(points)
        metric = density.t * hessian + density.gamma * torch.eye(2, dtype=torch.float64)
        return newton_flow(
            potential, density, Particles(points, value, gradient), Curvature(*torch.linalg.eigh(metric), hessian)
        )

    # the width c is the median over particles: odd copies of the point keep it where the perturbed one cannot move it
    for point in POINTS:
        copies = point.expand(5, -1)
        found = flow(copies)
        h = 1e-6
        for j in range(2):
            step = torch.zeros(2, dtype=torch.float64)
            step[j] = h
            up, down = copies.clone(), copies.clone()
            up[0] += step
            down[0] -= step
            numeric = (flow(up).field[0] - flow(down).field[0]) / (2 * h)
            assert torch.allclose(found.jacobian[0, :, j], numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "center", "gamma", "says"),
    [
        (quartic, ORIGIN, 0.0, "gamma"),
        (quartic, ORIGIN, float("nan"), "gamma"),
        (quartic, torch.zeros(2, 2), 1.0, "center must be a vector"),
        (quartic, torch.tensor([0.0, torch.nan]), 1.0, "center must be a vector"),
        (quartic, "origin", 1.0, "center must be a vector"),
        (lambda w: w.square().sum(), ORIGIN, 1.0, "must map points"),
        (lambda w: 1.0, ORIGIN, 1.0, "must map points"),
        (lambda w: quartic(w) + 0.3, ORIGIN, 1.0, "zero at the centre"),
        (lambda w: w.prod(-1), ORIGIN, 1.0, "must be >= 0"),
        (lambda w: quartic(w) * torch.nan, ORIGIN, 1.0, "not finite"),
        (lambda w: quartic(w).detach(), ORIGIN, 1.0, "not differentiable"),
        (lambda w: w @ torch.ones(3).double(), ORIGIN, 1.0, "raised RuntimeError"),
    ],
)
def test_bad_input_is_one_line(function, center, gamma, says):
    with pytest.raises(InputError, match=says) as caught:
        LocalPotential(function, center, gamma)
    assert "\n" not in str(caught.value)


def test_a_negative_potential_far_out_is_refused_when_it_is_met():
    potential = LocalPotential(lambda w: w.square().sum(-1) - w.pow(4).sum(-1), ORIGIN, 400.0)
    with pytest.raises(InputError, match="larger gamma"):
        potential.value(torch.tensor([[2.0, 0.0]], dtype=torch.float64))


def test_rounding_below_zero_is_zero():
    potential = LocalPotential(lambda w: w.square().sum(-1) - 1e-17, ORIGIN, 1.0)
    assert float(potential.value(ORIGIN[None])) == 0.0
    assert potential.floor == 1e-17
