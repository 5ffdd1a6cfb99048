"""The closed forms against second routes, their combinators, their domains and their registry."""

from fractions import Fraction
from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers.errors import InputError
from slt.exact import RLCT, families
from slt.exact.families import FAMILIES

HALF = Fraction(1, 2)


def pair(rlct: RLCT) -> tuple[Fraction, int]:
    return rlct.learning_coefficient, rlct.multiplicity


def rank_zero_by_wishart(M: int, H: int, N: int) -> tuple[Fraction, int]:
    """Integrate B out of ‖BA‖²: det(1 + tAAᵀ)^(-N/2) over Wishart eigenvalues, of which k stay of order one.

    Each of the k costs N/2; the others cost the eigenvalue density's power. Valid for H <= M.
    """
    costs = [HALF * (k * N + (H - k) * (M - k)) for k in range(H + 1)]
    return min(costs), costs.count(min(costs))


def reduced_rank_by_wishart(M: int, H: int, N: int, r: int) -> tuple[Fraction, int]:
    """A Schur complement leaves r(M+N-r)/2 and the rank-zero problem of sizes M-r, H-r, N-r."""
    m, h, n = M - r, H - r, N - r
    regular = HALF * r * (M + N - r)
    if min(m, h, n) == 0:
        return regular, 1
    # eigenvalues of AAᵀ if H <= M; else of the smaller AᵀA, with the roles of M and H exchanged in the density
    coefficient, multiplicity = rank_zero_by_wishart(m, h, n) if h <= m else rank_zero_by_wishart(h, m, n)
    return regular + coefficient, multiplicity


def test_reduced_rank_agrees_with_an_integral_over_wishart_eigenvalues():
    cases = 0
    for M, H, N in product(range(1, 7), repeat=3):
        for r in range(min(M, H, N) + 1):
            assert pair(families.reduced_rank(M, H, N, r)) == reduced_rank_by_wishart(M, H, N, r), (M, H, N, r)
            cases += 1
    assert cases == 657


def test_reduced_rank_is_the_deep_linear_network_of_two_layers():
    for M, H, N in product(range(1, 8), repeat=3):
        for r in range(min(M, H, N) + 1):
            assert pair(families.reduced_rank(M, H, N, r)) == pair(families.deep_linear([M, H, N], r))


def fibre_codimension(M: tuple[int, ...]) -> int:
    """Smallest codimension of a rank stratum of W_L...W_1 = 0 with widths M_0, ..., M_L.

    t_j is the rank of W_j...W_1, t_0 = M_0; the product of a matrix of M_j rows with a map of rank t_(j-1) drops to
    rank t_j at the cost (t_(j-1) - t_j)(M_j - t_j). Dynamic programming over the ranks, ending at rank zero.
    """
    best = {M[0]: 0}
    for width in M[1:]:
        step: dict[int, int] = {}
        for before, cost in best.items():
            for after in range(min(before, width) + 1):
                value = cost + (before - after) * (width - after)
                step[after] = min(step.get(after, value), value)
        best = step
    return best[0]


@pytest.mark.parametrize("layers", [2, 3, 4, 5])
def test_deep_linear_coefficient_is_half_the_codimension_of_the_fibre(layers):
    for widths in product(range(1, 5), repeat=layers + 1):
        for r in range(min(widths) + 1):
            regular = HALF * r * (widths[0] + widths[-1] - r)
            singular = fibre_codimension(tuple(w - r for w in widths))
            answer = families.deep_linear(widths, r).learning_coefficient
            assert answer == regular + HALF * singular, (widths, r)


def test_deep_linear_with_a_layer_of_width_one_is_a_product_of_norms():
    for others in combinations_with_replacement(range(1, 6), 3):
        expected = families.disjoint_product(*[families.norm_power(d, 2) for d in others])
        for position in range(4):
            widths = [*others[:position], 1, *others[position:]]
            assert pair(families.deep_linear(widths, 0)) == pair(expected), widths


def test_deep_linear_does_not_depend_on_the_order_of_the_widths():
    for widths in combinations_with_replacement(range(1, 6), 4):
        answers = {pair(families.deep_linear(order, 0)) for order in permutations(widths)}
        assert len(answers) == 1, widths


def tanh_by_scales(p: int) -> tuple[Fraction, int]:
    """All input weights of size t^-β: their volume costs pβ, the k-th direction (½ - (2k-1)β)_+. Minimize over β >= 0.

    Piecewise linear and convex, so the minimum is at a break point, and two of them mean a segment of minimisers.
    """
    breaks = [Fraction(0), *(Fraction(1, 2 * (2 * k - 1)) for k in range(1, p + 1))]
    costs = [p * b + sum(max(HALF - (2 * k - 1) * b, Fraction(0)) for k in range(1, p + 1)) for b in breaks]
    return min(costs), costs.count(min(costs))


@pytest.mark.parametrize("units", range(1, 31))
def test_tanh_network_agrees_with_power_counting_over_scales(units):
    assert pair(families.tanh_network(units)) == tanh_by_scales(units)


def test_tanh_spare_units_prefer_a_true_unit_to_zero():
    assert pair(families.tanh_network(2, 1)) == (Fraction(5, 4), 1)
    assert pair(families.tanh_network(4, 1)) == (1 + Fraction(2, 3), 1)
    # two spare units, two true ones: a quarter on each, not a half together
    assert pair(families.tanh_network(4, 2)) == (2 + HALF, 2)


@given(st.integers(1, 12), st.data())
def test_tanh_coefficient_grows_with_the_truth_and_stays_below_half_the_dimension(p, data):
    r = data.draw(st.integers(0, p))
    answer = families.tanh_network(p, r)
    assert r <= answer.learning_coefficient <= p
    if r < p:
        assert answer.learning_coefficient < families.tanh_network(p, r + 1).learning_coefficient


crossings = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(families.normal_crossings)


@given(st.lists(crossings, min_size=1, max_size=4))
def test_sums_and_products_of_disjoint_models(parts):
    total, least = families.disjoint_sum(*parts), families.disjoint_product(*parts)
    assert total.learning_coefficient == sum(p.learning_coefficient for p in parts)
    assert total.multiplicity - 1 == sum(p.multiplicity - 1 for p in parts)
    assert least.learning_coefficient == min(p.learning_coefficient for p in parts)
    assert pair(families.disjoint_sum(*reversed(parts))) == pair(total)
    assert pair(families.disjoint_product(*reversed(parts))) == pair(least)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6))
def test_a_monomial_is_the_product_of_its_variables(exponents):
    parts = [families.normal_crossings([a]) for a in exponents]
    assert pair(families.normal_crossings(exponents)) == pair(families.disjoint_product(*parts))


def test_exactness_is_inherited():
    bound = RLCT(HALF, 1, False, "bound")
    assert not families.disjoint_sum(families.regular(2), bound).exact
    assert not families.disjoint_product(families.regular(2), bound).exact


def test_machine_is_a_sum_of_crossings():
    for vanishing in product(range(2), range(3), range(4)):
        sizes = (1, 2, 3)
        parts = [families.normal_crossings([2] * z) if z else families.regular(1) for z in vanishing]
        assert pair(families.factorized_polynomial(sizes, vanishing)) == pair(families.disjoint_sum(*parts))


def test_mixture_weights_prior():
    tie = families.location_mixture(3, 1, Fraction(1, 2))
    assert pair(tie) == (HALF + HALF, 3)
    sparse = families.location_mixture(3, 1, Fraction(1, 4))
    assert pair(sparse) == (HALF + Fraction(1, 4), 1)
    assert pair(families.isotropic_gaussian_mixture(4, 1)) == pair(families.location_mixture(4))
    assert pair(families.isotropic_gaussian_mixture(3, 2)) == (Fraction(2), 3)


def test_lda_without_spare_topics_is_regular():
    for M, r, N in product(range(2, 6), range(1, 4), range(2, 6)):
        if r <= min(M, N):
            free = r * (M - 1) + N * (r - 1) - r * (r - 1)  # stochastic columns, less invertible r×r of column sum 1
            assert pair(families.latent_dirichlet(M, r, N, r)) == (Fraction(free, 2), 1)


def test_lda_with_one_true_topic_is_a_reduced_rank_problem_of_smaller_size():
    for M, H, N in product(range(2, 6), range(1, 5), range(2, 6)):
        rest = (Fraction(0), 1) if H == 1 else pair(families.reduced_rank(M - 1, H - 1, N - 1, 0))
        assert pair(families.latent_dirichlet(M, H, N, 1)) == (Fraction(M - 1, 2) + rest[0], rest[1])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: families.regular(0), "at least one parameter"),
        (lambda: families.regular(2.0), "dimension must be a whole number"),
        (lambda: families.regular(True), "dimension must be a whole number"),
        (lambda: families.normal_crossings([0, 0]), "all 0"),
        (lambda: families.normal_crossings([2, -2]), r"exponents\[1\] must be a whole number of at least 0"),
        (lambda: families.normal_crossings([]), "at least 1"),
        (lambda: families.normal_crossings([2], [0, 1]), "one per variable"),
        (lambda: families.norm_power(0, 2), "dimension must be a whole number of at least 1"),
        (lambda: families.disjoint_sum(), "at least one RLCT"),
        (lambda: families.disjoint_product(HALF), "combines RLCT values, got Fraction"),
        (lambda: families.reduced_rank(2, 2, 2, 3), "at most min"),
        (lambda: families.reduced_rank(0, 2, 2, 0), r"M \(inputs\) must be a whole number of at least 1"),
        (lambda: families.deep_linear([3], 0), "at least 2"),
        (lambda: families.deep_linear([3, 2, 3], 3), "at most the smallest width 2"),
        (lambda: families.tanh_network(2, 3), "realisable"),
        (lambda: families.tanh_network(51, 1), "up to 50 units"),
        (lambda: families.relu_network(2, 1), "one unit only"),
        (lambda: families.factorized_polynomial([1, 2], [2, 0]), "coefficient 0 has 1 factors"),
        (lambda: families.factorized_polynomial([1, 2], [0]), "give one each"),
        (lambda: families.superposition_polygon(3, 6), "4 <= k <= 8"),
        (lambda: families.superposition_polygon(6, 5), "at least 6 columns"),
        (lambda: families.superposition_polygon(5, 7, 1), "saddle.*plus must be 0 or columns - sides = 2"),
        (lambda: families.superposition_polygon(4, 9, 2), "saddle"),
        (lambda: families.superposition_polygon(5, 6, 2), "at most columns - sides = 1"),
        (lambda: families.location_mixture(2, 3), "at most components"),
        (lambda: families.location_mixture(2, 1, 0.5), "positive int or Fraction"),
        (lambda: families.binomial_mixture(1), "trials must be a whole number of at least 2"),
        (lambda: families.latent_dirichlet(3, 2, 3, 0), "never zero"),
    ],
)
def test_domains(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("regular", "3", ("3/2", 1)),
        ("regular", "3 2", ("3/2", 1)),
        ("normal-crossings", "2 4", ("1/4", 1)),
        ("normal-crossings", "2 4 / 0 1", ("1/2", 2)),
        ("norm-power", "6 4", ("3/2", 1)),
        ("reduced-rank", "3 2 2 0", ("2", 2)),
        ("deep-linear", "4 4 4 4 4 1", ("13/2", 4)),
        ("tanh", "4", ("1", 2)),
        ("tanh", "2 1", ("5/4", 1)),
        ("tanh-unit", "3 2", ("1", 1)),
        ("relu", "1", ("1/2", 2)),
        ("relu", "1 0 1", ("0", 1)),
        ("overparameterized", "1 2 3", ("3/2", 4)),
        ("overparameterized", "1 2 3 / 0 0 3", ("3/2", 3)),
        ("machine", "", ("5/2", 11)),
        ("machine", "0 0 3 4 5", ("5/2", 10)),
        ("superposition", "5 6", ("7", 1)),
        ("superposition", "5 6 1", ("17/2", 1)),
        ("superposition-4-minus", "", ("11/2", 1)),
        ("contamination", "", ("1/2", 2)),
        ("gaussian-mixture", "2", ("3/4", 1)),
        ("gaussian-mixture-rd", "2 2", ("3/2", 2)),
        ("poisson-mixture", "3 2", ("7/4", 1)),
        ("binomial-mixture", "5", ("3/4", 1)),
        ("nmf", "2 3 2", ("3", 4)),
        ("lda", "5 3 4 1", ("5", 2)),
    ],
)
def test_registry_reads_words(name, words, expected):
    assert pair(FAMILIES[name].evaluate(words.split())) == (Fraction(expected[0]), expected[1])


def test_every_family_is_tried_above_and_documented():
    tried = {mark[0] for mark in test_registry_reads_words.pytestmark[0].args[1]}
    assert tried == set(FAMILIES)
    for name, family in FAMILIES.items():
        assert family.name == name
        assert family.help


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("reduced-rank", "3 2", "takes M H N R"),
        ("reduced-rank", "3 2 2 0 1", "takes M H N R"),
        ("reduced-rank", "3 2 2 x", "'x' is not an integer"),
        ("reduced-rank", "3 2 2 0.5", "'0.5' is not an integer"),
        ("deep-linear", "3 2", "takes H0 H1 ... HL R"),
        ("normal-crossings", "/ 1", "takes A1 A2"),
        ("normal-crossings", "2 / 1 / 1", "'/' is not an integer"),
        ("contamination", "1", "takes no arguments"),
        ("relu", "1 0 2", "DEAD must be 0 or 1"),
        ("tanh", "²", "'²' is not an integer"),
        ("tanh", "+-3", "is not an integer"),
        ("tanh", "9" * 5000, "is not an integer"),
        ("regular", "-1", "must be a whole number of at least 0"),
    ],
)
def test_registry_refuses_in_one_line(name, words, says):
    with pytest.raises(InputError, match=says) as caught:
        FAMILIES[name].evaluate(words.split())
    assert "\n" not in str(caught.value)
