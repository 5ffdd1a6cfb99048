"""The closed forms by name, called with words from a command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from samplers.errors import InputError
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
from slt.exact.families.relu import relu_network
from slt.exact.families.superposition import superposition_four_minus, superposition_polygon
from slt.exact.families.tanh import tanh_network, tanh_unit
from slt.exact.rlct import RLCT

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True)
class Family:
    """One closed form: its name, the words it takes, a line of help, and the function behind it.

    `least` and `most` bound the number of integer arguments (`most` None: any number). `divided` families
    take two lists of integers with a "/" between them, the second optional.
    """

    name: str
    usage: str
    help: str
    call: Callable[..., RLCT]
    least: int
    most: int | None
    divided: bool = False

    def evaluate(self, args: list[str]) -> RLCT:
        """Return the RLCT for words such as ["3", "2", "2", "0"]; InputError where they do not fit."""
        words = list(args)
        second = None
        if self.divided and "/" in words:
            cut = words.index("/")
            words, second = words[:cut], self._integers(words[cut + 1 :])
        numbers = self._integers(words)
        if len(numbers) < self.least or (self.most is not None and len(numbers) > self.most):
            raise InputError(f"{self.name} takes {self.usage or 'no arguments'}, got {len(args)} argument(s)")
        if self.divided:
            return self.call(numbers, second)
        return self.call(*numbers)

    def _integers(self, words: list[str]) -> list[int]:
        for word in words:
            if not _INTEGER.fullmatch(word):
                raise InputError(f"{self.name} takes {self.usage or 'no arguments'}: {word[:20]!r} is not an integer")
        return [int(word) for word in words]


def _deep_linear(*words: int) -> RLCT:
    return deep_linear(words[:-1], words[-1])


def _machine(*vanishing: int) -> RLCT:
    return fifteen_parameter_machine(vanishing) if vanishing else fifteen_parameter_machine()


def _relu(units: int, true_units: int = 0, dead: int = 0) -> RLCT:
    if dead not in (0, 1):
        raise InputError(f"relu: DEAD must be 0 or 1, got {dead}")
    return relu_network(units, true_units, bool(dead))


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in [
        Family("regular", "D [FREE]", "non-degenerate minimum in D parameters, FREE flat ones", regular, 1, 2),
        Family(
            "normal-crossings",
            "A1 A2 ... [/ H1 H2 ...]",
            "K = ∏ |w_j|^A_j with prior density ∏ |w_j|^H_j",
            normal_crossings,
            1,
            None,
            divided=True,
        ),
        Family("norm-power", "D DEGREE", "K ~ ‖w‖^DEGREE in D parameters", norm_power, 2, 2),
        Family(
            "reduced-rank",
            "M H N R",
            "y = BAx, M inputs, H hidden, N outputs, true rank R",
            reduced_rank,
            4,
            4,
        ),
        Family(
            "deep-linear",
            "H0 H1 ... HL R",
            "deep linear network of these widths, true rank R",
            _deep_linear,
            3,
            None,
        ),
        Family("tanh", "UNITS [TRUE]", "Σ a_h tanh(b_h x), TRUE distinct non-zero true units", tanh_network, 1, 2),
        Family("tanh-unit", "INPUTS OUTPUTS", "one tanh unit, truth zero", tanh_unit, 2, 2),
        Family("relu", "UNITS [TRUE [DEAD]]", "Σ a_h relu(b_h x); DEAD = 1: off on all the data", _relu, 1, 3),
        Family(
            "overparameterized",
            "K1 K2 ... [/ Z1 Z2 ...]",
            "coefficient j a product of K_j own parameters, Z_j of them zero (default all)",
            factorized_polynomial,
            1,
            None,
            divided=True,
        ),
        Family("machine", "[Z0 Z1 Z2 Z3 Z4]", "15-parameter machine with Z_j vanishing factors", _machine, 0, 5),
        Family(
            "superposition",
            "K C [PLUS]",
            "toy model of superposition, K-gon, C columns",
            superposition_polygon,
            2,
            3,
        ),
        Family(
            "superposition-4-minus",
            "",
            "toy model of superposition, the 4⁻-gon with C = 6",
            superposition_four_minus,
            0,
            0,
        ),
        Family("contamination", "", "(1-a) N(0,1) + a N(b,1), truth N(0,1)", contamination, 0, 0),
        Family(
            "gaussian-mixture",
            "H [H0]",
            "H Gaussian means on the line, truth H0 components",
            location_mixture,
            1,
            2,
        ),
        Family(
            "gaussian-mixture-rd",
            "H D",
            "H Gaussians in R^D, truth one component",
            isotropic_gaussian_mixture,
            2,
            2,
        ),
        Family("poisson-mixture", "H [H0]", "H Poissons, truth H0 components", location_mixture, 1, 2),
        Family("binomial-mixture", "N", "two binomials of N trials, truth one component", binomial_mixture, 1, 1),
        Family("nmf", "M H N", "non-negative M×H times H×N, truth zero", nonnegative_factorization, 3, 3),
        Family(
            "lda",
            "M H N R",
            "latent Dirichlet allocation, M words, H topics, N documents, R true topics",
            latent_dirichlet,
            4,
            4,
        ),
    ]
}
