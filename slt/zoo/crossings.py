"""Quadratics, normal crossings, and their disjoint sums and products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slt.exact import families
from slt.zoo import oracles
from slt.zoo.model import AnalyticModel


def _centered(dimension: int) -> Tensor:
    return torch.zeros(dimension, dtype=torch.float64)


def quadratic(name: str, curvature: Sequence[float]) -> AnalyticModel:
    """K = ½ Σ h_i w_i², all h_i > 0: (d/2, 1)."""
    h = torch.tensor(list(curvature), dtype=torch.float64)

    def potential(w: Tensor) -> Tensor:
        return 0.5 * (h * w.square()).sum(-1)

    rlct = families.regular(len(h))
    return AnalyticModel(name, "regular", len(h), potential, _centered(len(h)), rlct, oracles.quadratic(h.numpy()))


def monomial(name: str, powers: Sequence[int], group: str = "normal-crossing") -> AnalyticModel:
    """K = ∏ w_j^(2 k_j), `powers` the even exponents 2 k_j, at the origin."""

    def potential(w: Tensor) -> Tensor:
        return _monomial(w, powers)

    oracle = oracles.product_of_norms([1] * len(powers), powers)
    rlct = families.normal_crossings(powers)
    return AnalyticModel(name, group, len(powers), potential, _centered(len(powers)), rlct, oracle)


def _monomial(w: Tensor, powers: Sequence[int]) -> Tensor:
    return torch.stack([w[..., j] ** power for j, power in enumerate(powers)], -1).prod(-1)


def monomial_sum(name: str, terms: Sequence[Sequence[int]]) -> AnalyticModel:
    """K = Σ of monomials in disjoint variables, one list of even exponents per term."""
    sizes = [len(powers) for powers in terms]

    def potential(w: Tensor) -> Tensor:
        parts = torch.split(w, sizes, dim=-1)
        return torch.stack([_monomial(part, powers) for part, powers in zip(parts, terms, strict=True)], -1).sum(-1)

    rlct = families.disjoint_sum(*[families.normal_crossings(powers) for powers in terms])
    oracle = oracles.sum_of(*[oracles.product_of_norms([1] * len(powers), powers) for powers in terms])
    return AnalyticModel(name, "composite", sum(sizes), potential, _centered(sum(sizes)), rlct, oracle)


def norm_product(name: str, dimensions: Sequence[int]) -> AnalyticModel:
    """K = ∏ ‖v_i‖² with v_i in R^(d_i)."""
    total = sum(dimensions)

    def potential(w: Tensor) -> Tensor:
        return torch.stack([v.square().sum(-1) for v in torch.split(w, list(dimensions), dim=-1)], -1).prod(-1)

    rlct = families.disjoint_product(*[families.norm_power(d, 2) for d in dimensions])
    oracle = oracles.product_of_norms(dimensions, [2] * len(dimensions))
    return AnalyticModel(name, "composite", total, potential, _centered(total), rlct, oracle)


def sum_times_square() -> AnalyticModel:
    """K = (w1² + w2⁴) w3²: the product of a sum, λ = min(¾, ½)."""

    def potential(w: Tensor) -> Tensor:
        return (w[..., 0] ** 2 + w[..., 1] ** 4) * w[..., 2] ** 2

    inner = families.disjoint_sum(families.normal_crossings([2]), families.normal_crossings([4]))
    rlct = families.disjoint_product(inner, families.normal_crossings([2]))
    return AnalyticModel("sum-times-square", "composite", 3, potential, _centered(3), rlct, oracles.sum_times_square())


def models() -> list[AnalyticModel]:
    """Return the regular models, the normal crossings and the composite models."""
    spread = torch.logspace(-3, 1, 10, dtype=torch.float64).tolist()
    wide = torch.logspace(-4, 2, 100, dtype=torch.float64).tolist()
    return [
        quadratic("quadratic-1", [2.0]),
        quadratic("quadratic-10", [2.0] * 10),
        quadratic("quadratic-10-ill", spread),
        quadratic("quadratic-100-ill", wide),
        monomial("w4", [4]),
        monomial("crossing-2-2", [2, 2]),
        monomial("crossing-2-2-2", [2, 2, 2]),
        monomial("crossing-2-4", [2, 4]),
        monomial("crossing-4-4", [4, 4]),
        monomial_sum("sum-w2-w4", [[2], [4]]),
        monomial_sum("sum-w2-w24", [[2], [24]]),
        monomial_sum("sum-w2-crossing-6-8", [[2], [6, 8]]),
        monomial_sum("sum-of-crossings", [[2, 2], [2, 2]]),
        norm_product("norms-3-3", [3, 3]),
        norm_product("norms-2-5", [2, 5]),
        sum_times_square(),
    ]
