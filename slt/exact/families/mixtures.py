"""Mixtures of Gaussians, Poissons and binomials."""

from __future__ import annotations

from fractions import Fraction

from samplers.arguments import whole
from samplers.errors import InputError
from slt.exact.families.combine import disjoint_sum
from slt.exact.families.normal_crossings import normal_crossings, regular
from slt.exact.rlct import RLCT


def contamination() -> RLCT:
    """(1 - a) N(0,1) + a N(b,1), truth N(0,1), at a = b = 0: K comparable to (ab)², so (½, 2).

    Watanabe 2009; the prior is taken positive on both sides of a = 0, or on one: the exponents are the same.
    """
    answer = normal_crossings([2, 2])
    return RLCT(answer.learning_coefficient, answer.multiplicity, True, "contaminated Gaussian, K ~ (ab)²")


def location_mixture(components: int, true_components: int = 1, concentration: Fraction | int = 1) -> RLCT:
    """Mixture of H one-parameter locations with free weights; the truth has H0 <= H distinct components.

    Gaussian means on the line with known variance, and Poisson rates, alike: χ² of the mixture gives K
    comparable to (regular part in 2 H0 - 1 directions) + Σ over the H - H0 spare components of a_h² b_h⁴,
    whose weights are positive so that nothing cancels. With Dirichlet weight density ∝ a^(α-1) at zero, α =
    `concentration`:

        λ = (2 H0 - 1)/2 + (H - H0) min(α/2, ¼),    m = 1, or 1 + H - H0 at the tie α = ½.

    At α = 1: (3 H0 + H - 2)/4 (Yamazaki & Watanabe 2003 for Gaussians with H = 2, H0 = 1; Sato & Watanabe
    2019 for Poissons). exact = False for H0 >= 2 with spare components, which is derived here and not proved.

    Raises InputError unless 1 <= H0 <= H and concentration > 0.
    """
    H, H0 = whole(components, "components", 1), whole(true_components, "true_components", 1)
    if H0 > H:
        raise InputError(f"true_components must be at most components = {H}, got {H0}")
    if isinstance(concentration, float) or concentration <= 0:
        raise InputError(f"concentration must be a positive int or Fraction, got {concentration!r}")
    if H == H0:
        return RLCT(Fraction(2 * H - 1, 2), 1, True, "mixture without spare components: regular, d/2")
    spare = min(Fraction(concentration) / 2, Fraction(1, 4))
    multiplicity = 1 + (H - H0 if 2 * concentration == 1 else 0)
    value = Fraction(2 * H0 - 1, 2) + (H - H0) * spare
    source = "location mixture (Yamazaki & Watanabe 2003; Sato & Watanabe 2019)"
    return RLCT(
        value,
        multiplicity,
        H0 == 1,
        source if H0 == 1 else source + ", not proved for two true components or more",
    )


def binomial_mixture(trials: int) -> RLCT:
    """Mixture of two binomials B(N, p_h) with a free weight, truth one component: (¾, 1) as for Gaussians.

    A binomial sees moments up to order N, and the leading terms need the first two. Raises InputError for N <
    2.
    """
    whole(trials, "trials", 2)
    return RLCT(location_mixture(2).learning_coefficient, 1, True, "binomial mixture, as the Gaussian one")


def isotropic_gaussian_mixture(components: int, dimension: int) -> RLCT:
    """H Gaussians N(b_h, I) in R^d with free weights, truth one component.

    K is two-sided comparable to ‖u‖² + Σ_{h>=2} a_h² ‖b_h‖⁴ with u the d means of the mixture.

    λ = d/2 + (H - 1) min(½, d/4); m = 1, except d = 2, where weight and means tie and m = H.
    """
    H, d = whole(components, "components", 1), whole(dimension, "dimension", 1)
    spare = [
        RLCT(min(Fraction(1, 2), Fraction(d, 4)), 2 if d == 2 else 1, True, "spare component, a²‖b‖⁴")
        for _ in range(H - 1)
    ]
    answer = disjoint_sum(regular(d), *spare)
    return RLCT(
        answer.learning_coefficient,
        answer.multiplicity,
        True,
        "isotropic Gaussian mixture, truth one component",
    )
