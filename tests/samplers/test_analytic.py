"""Analytic potentials: derivatives against closed forms, and what cannot be used is refused in one line."""

import math

import pytest
import torch

from samplers.analytic import LocalPotential, Tempered
from samplers.confinement import TANGENT_POWER
from samplers.errors import InputError
from samplers.group_noise import Draws
from samplers.moves import Particles
from samplers.newton_flow import Flow, newton_flow
from samplers.newton_moves import Curvature
from slt import zoo

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
    third, twice = potential.third_derivatives(POINTS, identity, identity, 2 * identity)  # ∇K_xx and ∇K_yy
    zero = torch.zeros_like(x)
    assert torch.allclose(third[:, 0], torch.stack([24 * x, 4 * y], -1))
    assert torch.allclose(third[:, 1], torch.stack([4 * x, zero], -1))
    assert torch.allclose(twice, 2 * third)


def test_second_derivatives_are_taken_of_fewer_points_at_once_where_each_takes_more_memory():
    u = 0.5 * torch.randn(600, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nodes = torch.linspace(0.5, 1.5, 10_000, dtype=torch.float64)
    called = []

    def wide(w):  # keeps 80 kB or more for each point
        called.append(len(w))
        return (w * nodes).square().mean(-1)

    potential = LocalPotential(wide, ORIGIN[:1], 4.0)
    called.clear()
    _, gradient, hessian = potential.value_grad_hessian(u)
    assert called == [256, 256, 88]
    second = 2 * nodes.square().mean()
    assert torch.allclose(gradient, second * u)
    assert torch.allclose(hessian, second.expand(600, 1, 1))
    narrow = LocalPotential(quartic, ORIGIN, 4.0)
    assert torch.equal(narrow.value_grad_hessian(POINTS)[2], narrow.value_grad_hessian(POINTS.repeat(700, 1))[2][-3:])


def test_functions_that_hooks_cannot_look_into_are_taken():
    """`torch.func` refuses saved tensor hooks, sparse tensors have no storage to measure."""
    matrix = torch.eye(2, dtype=torch.float64).to_sparse()
    slope = torch.vmap(torch.func.grad(lambda w: (w[0] * w[1]) ** 2))
    for function in (lambda w: slope(w).square().sum(-1), lambda w: torch.sparse.mm(matrix, w.T).square().sum(0)):
        potential = LocalPotential(function, ORIGIN, 4.0)
        assert potential.smooth
        assert torch.allclose(potential.value(POINTS), function(POINTS))


class OnceDifferentiable(torch.autograd.Function):
    """(x - y²)² with a gradient by hand, of which autograd takes the derivative to be zero."""

    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        return (w[:, 0] - w[:, 1] ** 2) ** 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        (w,) = ctx.saved_tensors
        residual = w[:, 0] - w[:, 1] ** 2
        return (upstream * 2 * residual)[:, None] * torch.stack([torch.ones_like(residual), -2 * w[:, 1]], -1)


def test_second_derivatives_that_are_not_those_of_the_gradient_are_not_used():
    assert not LocalPotential(OnceDifferentiable.apply, ORIGIN, 25.0).smooth
    assert LocalPotential(lambda w: (w[:, 0] - w[:, 1] ** 2) ** 2, ORIGIN, 25.0).smooth
    assert LocalPotential(lambda w: (w[:, 0] - w[:, 1]).relu() + w[:, 1].abs(), ORIGIN, 25.0).smooth


def test_gradients_are_taken_where_the_caller_has_switched_them_off():
    with torch.no_grad():
        _, gradient, hessian = LocalPotential(quartic, ORIGIN, 4.0).value_grad_hessian(POINTS)
    assert bool(gradient.abs().sum() > 0)
    assert bool(hessian.abs().sum() > 0)


def test_a_constant_hessian_has_no_third_derivative():
    potential = LocalPotential(lambda w: w.square().sum(-1), ORIGIN, 1.0)
    identity = torch.eye(2, dtype=torch.float64).expand(3, -1, -1)
    assert potential.smooth
    assert all(float(part.abs().max()) == 0.0 for part in potential.third_derivatives(POINTS, identity, identity))


def test_overflow_is_an_infinite_potential_with_no_slope():
    potential = LocalPotential(lambda w: torch.expm1(w.square().sum(-1)), ORIGIN, 1.0)
    value, gradient = potential.value_and_grad(torch.tensor([[1.0, 0.0], [1e3, 0.0]], dtype=torch.float64))
    assert value.tolist() == [pytest.approx(1.718281828), torch.inf]
    assert gradient[1].tolist() == [0.0, 0.0]


def test_rounding_is_that_of_the_point():
    potential = LocalPotential(lambda w: (w[..., 0] - 1).square(), torch.ones(1), 1.0)
    spacing, noise = potential.rounding(torch.full((64, 1), 1e-4, dtype=torch.float64), Draws(0, range(2), 32))
    assert float(spacing.max()) == pytest.approx(2 * 1e-4 * 2.2e-16, rel=0.05)  # K' times the spacing of floats at 1
    assert noise < 1e-2 * float(spacing.max())  # K itself is exact to its own last digits


def test_rounding_is_that_of_the_loss_at_the_minimum():
    """K = (0.7 + |u|²) - 0.7 comes in steps of 2^-53, the spacing of floats there; points are as fine as ever."""
    potential = LocalPotential(lambda w: (w.square().sum(-1) + 0.7) - 0.7, torch.zeros(3), 1.0)
    u = 1e-6 * torch.randn(4096, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spacing, noise = potential.rounding(u, Draws(0, range(8), 512))
    assert float(spacing.max()) == 0.0
    assert noise == pytest.approx(2.0**-53 / math.sqrt(12), rel=0.1)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_what_a_smooth_potential_does_by_itself_is_no_noise(scale):
    """A degree of 80; and a curved set of zeros with walls a millionth as far away as the centre."""
    normal = torch.randn(512, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u = scale * (1 + 0.1 * normal)
    on_parabola = torch.stack([u[:, 0], u[:, 0].square() * (1 + 1e-6 * normal[:, 1])], 1)
    functions = (lambda w: (w[..., 0] ** 2 * w[..., 1] ** 3) ** 16, lambda w: (w[..., 1] - w[..., 0].square()).square())
    for function, points in zip(functions, (u, on_parabola), strict=True):
        noise = LocalPotential(function, torch.zeros(2), 1.0).rounding(points, Draws(0, range(1), 512))[1]
        assert noise < 1e-5 * float(function(points).median())


def flow_at(potential: LocalPotential, t: float, points: torch.Tensor) -> Flow:
    value, gradient, hessian = potential.value_grad_hessian(points)
    metric = t * hessian + potential.gamma * torch.eye(points.shape[1], dtype=torch.float64)
    curvature = Curvature(*torch.linalg.eigh(metric), hessian)
    return newton_flow(potential, Tempered(t, potential.gamma), Particles(points, value, gradient), curvature)


def test_the_flow_has_the_jacobian_of_differences():
    potential = LocalPotential(quartic, ORIGIN, 4.0)
    found = flow_at(potential, 30.0, POINTS)
    for j in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[j] = 1e-6
        up, down = flow_at(potential, 30.0, POINTS + step), flow_at(potential, 30.0, POINTS - step)
        assert torch.allclose(found.jacobian[:, :, j], (up.field - down.field) / 2e-6, rtol=1e-5, atol=1e-7)


def test_tangential_columns_are_divergence_minus_slope_of_their_fields():
    """With the fields written out, their divergences by automatic differentiation through the inverse."""
    gamma, t = 4.0, 30.0
    function = zoo.get("tanh-2").potential
    potential = LocalPotential(function, torch.zeros(4), gamma)
    points = 0.7 * torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def slope(u):
        return t * torch.func.grad(function)(u) + gamma * u

    def fields(u):
        a = t * torch.func.hessian(function)(u) + gamma * torch.eye(4, dtype=torch.float64)
        size = (a.square().sum() + gamma**2).sqrt()
        squared = gamma**2 * (size / gamma) ** (2 * TANGENT_POWER) * torch.eye(4, dtype=torch.float64)  # c²
        inverse = torch.linalg.inv(a @ a + squared)
        return torch.cat([squared @ inverse @ torch.diag(u), (a @ inverse @ slope(u))[:, None]], 1)

    found = flow_at(potential, t, points).tangent
    for u, row in zip(points, found, strict=True):
        divergence = torch.func.jacrev(fields)(u).diagonal(dim1=0, dim2=2).sum(-1)
        assert torch.allclose(row, divergence - slope(u) @ fields(u), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("log_t", [25.0, 50.0, 70.0, 100.0])
def test_the_flow_shrinks_confined_directions_and_no_others_however_far_down(log_t):
    """Where |v| is t^-½ wide and |u| is 1/√γ, K = |u|² |v|² leaves the volume t^(-3/2): from log t = 50 on the
    eigenvalues of the three wide directions are nothing but rounding."""
    t, gamma = math.exp(log_t), 25.0
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    u = 0.2 * u / u.norm(dim=-1, keepdim=True)
    v = torch.randn(64, 3, generator=generator, dtype=torch.float64) * 5 / math.sqrt(2 * t)
    model = zoo.get("norms-3-3")
    flow = flow_at(LocalPotential(model.potential, model.center, gamma), t, torch.cat([u, v], 1))
    points, log_det = flow.carry(1.5)
    assert torch.allclose(log_det, torch.tensor(-0.5 * 1.5 * 3, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(points[:, 3:].norm(dim=-1), math.exp(-0.75) * v.norm(dim=-1), rtol=1e-4)


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


def test_a_negative_potential_far_out_is_refused_where_it_is_met_within_reach():
    def hill(w):
        return w.square().sum(-1) - w.pow(4).sum(-1)

    points = torch.tensor([[0.2, 0.0], [2.0, 0.0]], dtype=torch.float64)
    with pytest.raises(InputError, match="larger gamma"):
        LocalPotential(hill, ORIGIN, 10.0).value(points)
    value, _ = LocalPotential(hill, ORIGIN, 400.0).value_and_grad(points)  # 40 standard deviations away
    assert value.tolist() == [pytest.approx(0.2**2 - 0.2**4), torch.inf]


def test_a_loss_below_its_minimum_by_rounding_is_no_refusal():
    """b² tanh²(ax) as the difference of losses of 1/4: negative by a last digit of those, where a and b are small."""
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)
    potential = LocalPotential(
        lambda w: (torch.tanh(w[..., :1] * x) * w[..., 1:] + 0.5).square().mean(-1) - 0.25, ORIGIN, 1e4
    )
    u = 1e-3 * potential.draw(Draws(0, range(1), 4096))
    assert float(potential.function(u).min()) < -1e-17
    assert float(potential.value(u).min()) == 0.0
    assert 1e-17 < potential.floor < 1e-15
    wrong = LocalPotential(lambda w: (w.square().sum(-1) + 0.5) - 0.5 - 1e-7 * w[..., 0], ORIGIN, 1e4)
    with pytest.raises(InputError, match="must be >= 0"):
        wrong.value(1e-8 * torch.tensor([[1.0, 0.0]], dtype=torch.float64))


def test_rounding_below_zero_is_zero():
    potential = LocalPotential(lambda w: w.square().sum(-1) - 1e-17, ORIGIN, 1.0)
    assert float(potential.value(ORIGIN[None])) == 0.0
    assert potential.floor == 1e-17
