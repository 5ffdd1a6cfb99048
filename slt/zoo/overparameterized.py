"""Polynomial regression whose coefficients are overparameterized, and the 15-parameter machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import chain
from math import log

import numpy as np
import torch
from torch import Tensor, nn

from slt.exact import families
from slt.exact.families.overparameterized import FIFTEEN_PARAMETER_MACHINE
from slt.exact.rlct import RLCT
from slt.zoo import oracles
from slt.zoo.model import AnalyticModel, Oracle, RegressionModel
from slt.zoo.quadrature import TAIL, Nodes, gaussian_nodes, integrate, norm_density, plain_nodes

_SIZES = list(FIFTEEN_PARAMETER_MACHINE)
# name -> one point, by coefficient: its factors
_MACHINE_POINTS = {
    "zero": [[0.0] * k for k in _SIZES],
    "zero-generic": [[0.0] + [1.0] * (k - 1) for k in _SIZES],
    "linear": [[1.0], [1.0, 1.0], [0.0] * 3, [0.0] * 4, [0.0] * 5],
    "quartic": [[0.0], [0.0] * 2, [0.0] * 3, [0.0] * 4, [1.0] * 5],
    "full": [[1.0] * k for k in _SIZES],
}


class CoefficientNetwork(nn.Module):
    """f(x) = Σ_j c_j(θ) x^(p_j) of one input, (n, 1) -> (n, 1)."""

    def __init__(self, parameters: int, coefficients: Callable[[Tensor], Tensor], powers: Sequence[int]):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(parameters, dtype=torch.float64))
        self._coefficients = coefficients
        self._powers = list(powers)

    def forward(self, x: Tensor) -> Tensor:
        """Return f(x) for inputs (n, 1)."""
        basis = torch.cat([x**p for p in self._powers], 1)
        return (basis * self._coefficients(self.theta)).sum(1, keepdim=True)


def products(sizes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Return θ (..., Σ k_j) -> c (..., J), c_j the product of its own k_j parameters."""

    def coefficients(theta: Tensor) -> Tensor:
        return torch.stack([part.prod(-1) for part in torch.split(theta, list(sizes), dim=-1)], -1)

    return coefficients


def polynomial_regression(
    name: str,
    group: str,
    center: Sequence[float],
    coefficients: Callable[[Tensor], Tensor],
    powers: Sequence[int],
    rlct: RLCT,
    oracle: Oracle | None = None,
) -> AnalyticModel:
    """f(x) = Σ_j c_j(θ) x^(p_j), x uniform on [-1, 1]: K = ½ (c - c*)ᵀ G (c - c*), G_ij = E x^(p_i + p_j)."""
    point = torch.tensor(list(center), dtype=torch.float64)
    truth = coefficients(point)
    total = [[p + q for q in powers] for p in powers]
    gram = torch.tensor([[0.0 if p % 2 else 1 / (p + 1) for p in row] for row in total], dtype=torch.float64)

    def potential(w: Tensor) -> Tensor:
        gap = coefficients(w) - truth
        return 0.5 * ((gap @ gram) * gap).sum(-1)

    def build() -> nn.Module:
        return CoefficientNetwork(len(point), coefficients, powers)

    regression = RegressionModel(name, group, point, rlct, build, uniform_inputs)
    return AnalyticModel(name, group, len(point), potential, point, rlct, oracle, regression)


def uniform_inputs(n: int, generator: torch.Generator) -> Tensor:
    """Return (n, 1) inputs uniform on [-1, 1]."""
    return 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1


def _machine(name: str, point: list[list[float]]) -> AnalyticModel:
    """K = ‖c - c*‖², which is two-sided comparable to the regression's, and has an oracle."""
    center = torch.tensor([*chain.from_iterable(point)], dtype=torch.float64)
    coefficients = products(_SIZES)
    truth = coefficients(center)

    def potential(w: Tensor) -> Tensor:
        return (coefficients(w) - truth).square().sum(-1)

    oracle = oracles.sum_of(*[oracles.product_minus_truth(factors) for factors in point])
    note = "m at this point; zeros with more vanishing factors lie at distance 1" if name == "zero-generic" else ""
    rlct = _machine_rlct(point)
    return AnalyticModel(f"machine-{name}", "machine", 15, potential, center, rlct, oracle, note=note)


def _machine_rlct(point: list[list[float]]) -> RLCT:
    return families.fifteen_parameter_machine([factors.count(0.0) for factors in point])


def _shared_factor() -> AnalyticModel:
    """f = ax + abx²: given b, K = ½ a² (1/3 + b²/5) and a is Gaussian."""

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        density = norm_density(1, 2.0, -log_t - 2 * TAIL)
        b2 = np.exp(density.grid) / gamma
        return gaussian_nodes(density.log_weight, ((1 / 3 + b2 / 5) / gamma)[:, None])

    def coefficients(w: Tensor) -> Tensor:
        return torch.stack([w[..., 0], w[..., 0] * w[..., 1]], -1)

    rlct = RLCT(Fraction(1, 2), 1, True, "K ~ a², b is free")
    return polynomial_regression(
        "shared-factor", "overparameterized", [0.0, 0.0], coefficients, [1, 2], rlct, integrate(nodes_at)
    )


def _gram_matrix() -> AnalyticModel:
    """K = ‖UUᵀ‖², U of shape 3×2 at zero: the squared eigenvalues of a Wishart matrix."""

    def potential(w: Tensor) -> Tensor:
        u = w.reshape(*w.shape[:-1], 3, 2)
        return (u.mT @ u).square().sum((-2, -1))

    def nodes_at(log_t: float, gamma: float) -> Nodes:
        log_weight, s = oracles.wishart_nodes(2, 3, max(log_t - 2 * log(gamma), 0.0), step=0.2)
        return plain_nodes(log_weight, (s**2).sum(1) / gamma**2)

    center = torch.zeros(6, dtype=torch.float64)
    rlct = families.norm_power(6, 4)
    return AnalyticModel("gram-3-2", "overparameterized", 6, potential, center, rlct, integrate(nodes_at))


def models() -> list[AnalyticModel]:
    """Return the overparameterized polynomials and the 15-parameter machine at five points."""
    group = "overparameterized"

    def one(name: str, center: list[float], coefficient: Callable[[Tensor], Tensor], rlct: RLCT, oracle: Oracle):
        return polynomial_regression(name, group, center, lambda w: coefficient(w)[..., None], [1], rlct, oracle)

    single = [
        one(
            "product-5-zero",
            [0.0] * 5,
            lambda w: w.prod(-1),
            families.factorized_polynomial([5]),
            oracles.product_of_norms([1] * 5, [2] * 5, 1 / 6),
        ),
        one(
            "product-5-one",
            [1.0] * 5,
            lambda w: w.prod(-1),
            families.factorized_polynomial([5], [0]),
            oracles.product_minus_truth([1.0] * 5, 1 / 6),
        ),
        one(
            "a2b",
            [0.0] * 2,
            lambda w: w[..., 0].square() * w[..., 1],
            families.normal_crossings([4, 2]),
            oracles.product_of_norms([1, 1], [4, 2], 1 / 6),
        ),
        # a² - b² = 2uv in coordinates turned by 45°, in which the localizer is the same
        one(
            "a2-minus-b2",
            [0.0] * 2,
            lambda w: w[..., 0].square() - w[..., 1].square(),
            families.normal_crossings([2, 2]),
            oracles.product_of_norms([1, 1], [2, 2], 4 / 6),
        ),
        one(
            "a2-plus-b2",
            [0.0] * 2,
            lambda w: w.square().sum(-1),
            families.norm_power(2, 4),
            oracles.product_of_norms([2], [4], 1 / 6),
        ),
    ]
    machines = [_machine(name, point) for name, point in _MACHINE_POINTS.items()]
    networks = [
        polynomial_regression(
            f"machine-{name}-network",
            "machine",
            [*chain.from_iterable(point)],
            products(_SIZES),
            range(5),
            _machine_rlct(point),
        )
        for name, point in _MACHINE_POINTS.items()
    ]
    return [*single, _shared_factor(), _gram_matrix(), *machines, *networks]
