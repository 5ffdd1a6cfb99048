"""Closed forms of (λ, m) by family of models, and the registry the command line reads.

>>> from slt.exact import families
>>> print(families.FAMILIES["reduced-rank"].evaluate(["3", "2", "2", "0"]))
λ = 2, m = 2 (reduced-rank regression (Aoyagi & Watanabe 2005), case 1)
"""

from __future__ import annotations

from slt.exact.families.combine import disjoint_product, disjoint_sum
from slt.exact.families.deep_linear import deep_linear
from slt.exact.families.factorization import latent_dirichlet, nonnegative_factorization
from slt.exact.families.mixtures import (
    binomial_mixture,
    contamination,
    isotropic_gaussian_mixture,
    location_mixture,
)
from slt.exact.families.normal_crossings import norm_power, normal_crossings, regular
from slt.exact.families.overparameterized import factorized_polynomial, fifteen_parameter_machine
from slt.exact.families.reduced_rank import reduced_rank
from slt.exact.families.registry import FAMILIES, Family
from slt.exact.families.relu import relu_network
from slt.exact.families.superposition import superposition_four_minus, superposition_polygon
from slt.exact.families.tanh import tanh_network, tanh_unit

__all__ = [
    "FAMILIES",
    "Family",
    "binomial_mixture",
    "contamination",
    "deep_linear",
    "disjoint_product",
    "disjoint_sum",
    "factorized_polynomial",
    "fifteen_parameter_machine",
    "isotropic_gaussian_mixture",
    "latent_dirichlet",
    "location_mixture",
    "nonnegative_factorization",
    "norm_power",
    "normal_crossings",
    "reduced_rank",
    "regular",
    "relu_network",
    "superposition_four_minus",
    "superposition_polygon",
    "tanh_network",
    "tanh_unit",
]
