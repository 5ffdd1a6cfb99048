"""The zoo: exact answers, and potentials against plain numpy."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special

from samplers.errors import InputError
from slt import zoo
from slt.exact import families
from slt.exact.newton import newton
from slt.exact.plane_curve import plane_curve
from slt.zoo.superposition import polygon, superposition_loss

MODELS = zoo.models()


def ids(models):
    return [model.name for model in models]


def near_center(model, count, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, model.dimension, generator=generator, dtype=torch.float64)
    return model.center + scale * noise


@pytest.mark.parametrize("model", MODELS, ids=ids(MODELS))
def test_every_model_is_a_potential_at_its_center(model):
    w = near_center(model, 6)
    k = model.potential(w)
    assert k.shape == (6,)
    assert k.dtype == torch.float64
    assert torch.isfinite(k).all()
    torch.testing.assert_close(model.potential(w.reshape(2, 3, -1)), k.reshape(2, 3))
    torch.testing.assert_close(torch.func.vmap(model.potential)(w), k)
    assert abs(model.potential(model.center).item()) < 1e-15
    gradient = torch.func.grad(model.potential)(model.center)
    assert gradient.abs().max() < 1e-12
    if model.group != "superposition":  # there K is relative to a local minimum
        assert (k >= 0).all()
    close = model.potential(near_center(model, 200, 1e-3))
    if model.name not in ("superposition-4-gon", "superposition-4-plus"):
        assert (close >= -1e-15).all()
    assert torch.autograd.gradcheck(model.potential, near_center(model, 1, 0.3)[0].requires_grad_())


@pytest.mark.parametrize("model", MODELS, ids=ids(MODELS))
def test_gradients_are_finite_at_any_scale(model):
    for scale in (1e-8, 1e-3, 1.0, 3.0):
        w = near_center(model, 4, scale).requires_grad_()
        (gradient,) = torch.autograd.grad(model.potential(w).sum(), w)
        assert torch.isfinite(gradient).all()
    (gradient,) = torch.autograd.grad(model.potential(z := model.center.clone().requires_grad_()), z)
    assert torch.isfinite(gradient).all()


def test_names_and_groups():
    assert len({model.name for model in MODELS}) == len(MODELS)
    assert [m.name for group in zoo.groups() for m in zoo.models(group)] == [m.name for m in MODELS]
    assert zoo.get("w4").rlct == families.normal_crossings([4])
    with pytest.raises(InputError, match=r"did you mean .*crossing-2-2"):
        zoo.get("crossing-22")
    with pytest.raises(InputError, match="there are: regular"):
        zoo.models("no such group")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quadratic-10", families.regular(10)),
        ("crossing-2-4", families.normal_crossings([2, 4])),
        ("sum-of-crossings", families.disjoint_sum(*[families.normal_crossings([2, 2])] * 2)),
        ("norms-3-3", families.disjoint_product(*[families.norm_power(3, 2)] * 2)),
        ("machine-linear", families.fifteen_parameter_machine((0, 0, 3, 4, 5))),
        ("machine-quartic-network", families.fifteen_parameter_machine((1, 2, 3, 4, 0))),
        ("product-5-one", families.factorized_polynomial([5], [0])),
        ("reduced-rank-10-5-5-r2", families.reduced_rank(10, 5, 5, 2)),
        ("deep-linear-4-4-4-4-4-r1", families.deep_linear([4, 4, 4, 4, 4], 1)),
        ("tanh-3-on-1", families.tanh_network(3, 1)),
        ("superposition-5-plus", families.superposition_polygon(5, 6, 1)),
        ("gaussian-mixture-3", families.location_mixture(3)),
    ],
)
def test_rlct_is_the_family_value(name, expected):
    assert zoo.get(name).rlct == expected


POLYNOMIALS = {
    "x4-x2y2-y4": "x**4 + x**2*y**2 + y**4",
    "x4-y6": "x**4 + y**6",
    "x4y2-x2y4": "x**4*y**2 + x**2*y**4",
    "x6-x2y2-y6": "x**6 + x**2*y**2 + y**6",
    "cusp-squared": "(x**2 + y**3)**2",
    "parabola": "(y - x**2)**2 + x**6",
    "line-squared": "(x + y)**2",
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_match_the_exact_algorithm_and_their_text(name):
    model = zoo.get(name)
    exact = plane_curve(POLYNOMIALS[name], "x", "y")
    assert (model.rlct.learning_coefficient, model.rlct.multiplicity) == (
        exact.learning_coefficient,
        exact.multiplicity,
    )
    w = near_center(model, 20)
    x, y = w.numpy().T
    np.testing.assert_allclose(model.potential(w).numpy(), eval(POLYNOMIALS[name], {"x": x, "y": y}), rtol=1e-12)


def test_pairwise_products_match_the_newton_polyhedron():
    model = zoo.get("pairwise-products")
    exact = newton(["x*y", "y*z", "z*x"], ("x", "y", "z"))
    assert exact.exact
    assert (model.rlct.learning_coefficient, model.rlct.multiplicity) == (
        exact.learning_coefficient,
        exact.multiplicity,
    )


def polynomial_network_text(layers: int, degree: int, at: int, of: int) -> list[str]:
    """The two outputs as polynomials in a, b at the input of angle `at` of `of`, by rational points on the circle."""
    top, bottom = f"{of - at}", f"{at}"
    for layer in range(layers):
        if layer:
            top, bottom = f"({top})**{degree}", f"({bottom})**{degree}"
        top, bottom = f"(a + b)*({top}) + a**2*({bottom})", f"a**2*({top}) + b**2*({bottom})"
    return [top, bottom]


@pytest.mark.parametrize(("layers", "degree"), [(1, 2), (2, 2), (2, 3), (2, 4), (3, 2)])
def test_polynomial_networks_match_the_exact_algorithm(layers, degree):
    count = degree ** (layers - 1) + 1
    outputs = [f for i in range(count) for f in polynomial_network_text(layers, degree, i, count)]
    exact = plane_curve(outputs, "a", "b")
    model = zoo.get(f"polynomial-network-L{layers}-r{degree}")
    assert (model.rlct.learning_coefficient, model.rlct.multiplicity) == (
        exact.learning_coefficient,
        exact.multiplicity,
    )


def test_quadratic_and_crossing_potentials():
    w = near_center(zoo.get("crossing-2-2-2"), 5).numpy()
    np.testing.assert_allclose(zoo.get("crossing-2-2-2").potential(torch.tensor(w)), (w**2).prod(1))
    np.testing.assert_allclose(
        zoo.get("sum-times-square").potential(torch.tensor(w)), (w[:, 0] ** 2 + w[:, 1] ** 4) * w[:, 2] ** 2
    )
    model = zoo.get("norms-2-5")
    w = near_center(model, 5).numpy()
    np.testing.assert_allclose(
        model.potential(torch.tensor(w)), (w[:, :2] ** 2).sum(1) * (w[:, 2:] ** 2).sum(1), rtol=1e-12
    )


def test_polynomial_network_potential():
    model = zoo.get("polynomial-network-L3-r2")
    inputs = np.array([[math.cos(v), math.sin(v)] for v in math.pi * (np.arange(5) + 0.5) / 5])
    for a, b in near_center(model, 5).numpy():
        matrix = np.array([[a + b, a**2], [a**2, b**2]])
        h = inputs @ matrix.T
        for _ in range(2):
            h = (h**2) @ matrix.T
        expected = (h**2).sum(1).mean()
        assert model.potential(torch.tensor([a, b], dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-12)


def test_mixture_potential():
    model = zoo.get("gaussian-mixture-3")
    for w in near_center(model, 4):
        alpha, means = w[:2].numpy(), w[2:].numpy()
        weights = special.softmax(np.concatenate([[0.0], alpha]))

        def integrand(x, weights=weights, means=means):
            p = math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
            q = (weights * np.exp(-((x - means) ** 2) / 2)).sum() / math.sqrt(2 * math.pi)
            return p * math.log(p / q)

        expected = integrate.quad(integrand, -15, 15, epsabs=1e-13)[0]
        assert model.potential(w).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6])
def test_mixture_potential_keeps_its_digits(size):
    """At b = ±s and equal weights r - 1 is s² (x² - 1)/2 to leading order, and K = s⁴/4 (1 + O(s²))."""
    w = torch.tensor([0.0, size, -size], dtype=torch.float64)
    assert zoo.get("gaussian-mixture-2").potential(w).item() == pytest.approx(size**4 / 4, rel=1e-3, abs=0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_superposition_loss_against_a_dense_integral(scale):
    w = scale * torch.randn(5, 18, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mu, weight = np.polynomial.legendre.leggauss(1000)
    mu, weight = torch.tensor((mu + 1) / 2), torch.tensor(weight / 2)
    matrix, bias = w[:, :12].reshape(5, 2, 6), w[:, 12:]
    gram = matrix.mT @ matrix  # (5, i, j)
    output = torch.relu(mu[:, None, None, None] * gram + bias[:, None, :])
    gap = mu[:, None, None, None] * torch.eye(6) - output
    expected = (weight[:, None, None, None] * gap**2).sum(0).sum((1, 2)) / 6
    torch.testing.assert_close(superposition_loss(w, 6), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("sides", "columns", "plus"),
    [(5, 5, 0), (5, 6, 0), (5, 6, 1), (6, 6, 0), (6, 7, 1), (7, 7, 0), (8, 8, 0), (8, 9, 1)],
)
def test_superposition_polygons_are_minima_of_the_stated_hessian_rank(sides, columns, plus):
    w = polygon(sides, columns, plus)
    curvature = torch.linalg.eigvalsh(torch.func.hessian(lambda z: superposition_loss(z, columns))(w))
    assert curvature.min() > -1e-12
    rank = int((curvature > 1e-8).sum())
    assert rank == 2 * families.superposition_polygon(sides, columns, plus).learning_coefficient


@pytest.mark.parametrize(("sides", "columns", "plus"), [(5, 7, 1), (6, 9, 2), (8, 10, 1)])
def test_superposition_polygons_with_live_and_dead_columns_are_saddles(sides, columns, plus):
    w = polygon(sides, columns, plus)
    gradient = torch.func.grad(lambda z: superposition_loss(z, columns))(w)
    curvature = torch.linalg.eigvalsh(torch.func.hessian(lambda z: superposition_loss(z, columns))(w))
    assert gradient.abs().max() < 1e-12
    assert curvature.min() < -1e-5
    with pytest.raises(InputError, match="saddle"):
        families.superposition_polygon(sides, columns, plus)


@pytest.mark.parametrize(
    ("sides", "columns", "plus", "expected"),
    [(4, 6, 0, 0.111111), (4, 6, 1, 0.104167), (5, 6, 0, 0.068744), (5, 6, 1, 0.061799), (6, 6, 0, 0.048192)],
)
def test_superposition_losses_at_the_polygons(sides, columns, plus, expected):
    assert superposition_loss(polygon(sides, columns, plus), columns).item() == pytest.approx(expected, abs=6e-7)
