"""The Newton polyhedron's (λ, m): against vertex enumeration, closed forms, and where it must not claim exactness."""

import random
from fractions import Fraction
from itertools import combinations

import pytest
import sympy

from samplers.errors import InputError
from slt.exact import newton, plane_curve
from slt.exact.linear_program import diagonal_face, in_polyhedron
from slt.exact.polyhedron import compact_faces, face_coordinates, minimal


def names(dimension):
    return [f"w{j + 1}" for j in range(dimension)]


def monomial(exponent):
    return "*".join(f"w{j + 1}**{power}" for j, power in enumerate(exponent))


def solve(rows, values):
    """The unique solution of a square system, or None."""
    matrix, right = sympy.Matrix(rows), sympy.Matrix(values)
    return None if matrix.det() == 0 else [Fraction(int(v.p), int(v.q)) for v in matrix.LUsolve(right)]


def by_vertex_enumeration(exponents, weights):
    """min v·weights over {v >= 0, v·a >= 1} and 1 + dimension of the minimisers, from all vertices."""
    size = len(weights)
    constraints = [(list(a), 1) for a in exponents] + [([int(i == j) for i in range(size)], 0) for j in range(size)]
    optimal, best = [], None
    for chosen in combinations(constraints, size):
        vertex = solve(*zip(*chosen, strict=True))
        if vertex is None or any(sum(v * a for v, a in zip(vertex, row, strict=True)) < b for row, b in constraints):
            continue
        value = sum(v * w for v, w in zip(vertex, weights, strict=True))
        if best is None or value < best:
            best, optimal = value, []
        if value == best:
            optimal.append(vertex)
    edges = [[sympy.Rational(b - a) for a, b in zip(optimal[0], v, strict=True)] for v in optimal]
    return best, 1 + sympy.Matrix(edges).rank()


def random_exponents(rng, size):
    choices = [0, 0, 1, 2, 3] if rng.random() < 0.5 else [0, 1, 2]
    exponents = {tuple(rng.choice(choices) for _ in range(size)) for _ in range(rng.randint(1, 5))}
    return sorted(a for a in exponents if any(a)) or [(1,) * size]


@pytest.mark.parametrize("seed", range(150))
def test_random_monomial_ideals_against_vertex_enumeration(seed):
    rng = random.Random(seed)
    size = rng.randint(1, 4)
    exponents = random_exponents(rng, size)
    jacobian = [rng.choice([0, 0, 1, 2, Fraction(-1, 2)]) for _ in range(size)]
    value, multiplicity = by_vertex_enumeration([[2 * p for p in a] for a in exponents], [h + 1 for h in jacobian])
    ideal = newton([monomial(a) for a in exponents], names(size), jacobian=jacobian)
    squares = " + ".join(f"{rng.randint(1, 9)}*({monomial(a)})**2" for a in exponents)
    assert ideal.exact
    assert (ideal.learning_coefficient, ideal.multiplicity) == (value, multiplicity)
    single = newton(squares, names(size), jacobian=jacobian)
    assert (single.learning_coefficient, single.multiplicity, single.exact) == (value, multiplicity, True)


@pytest.mark.parametrize("seed", range(60))
def test_random_nondegenerate_perturbations_keep_the_answer_of_their_monomials(seed):
    # Terms above the polyhedron and units change nothing; neither does an invertible combination of generators.
    rng = random.Random(1000 + seed)
    size = rng.randint(2, 4)
    exponents = random_exponents(rng, size)
    expected = by_vertex_enumeration([[2 * p for p in a] for a in exponents], [1] * size)
    bumped = [
        f"{monomial(a)}*({rng.choice([1, -2, 3])} + w{rng.randint(1, size)} - w{rng.randint(1, size)}**2)"
        for a in exponents
    ]
    mixed = [
        f"{f} + {' + '.join(f'{rng.randint(1, 3)}*{g}' for g in bumped[:i])}" if i else f for i, f in enumerate(bumped)
    ]
    rlct = newton(mixed, names(size))
    if rlct.exact:
        assert (rlct.learning_coefficient, rlct.multiplicity) == expected
    else:
        assert rlct.learning_coefficient >= expected[0]
    rlct = newton(bumped, names(size))
    assert (rlct.learning_coefficient, rlct.multiplicity, rlct.exact) == (*expected, True)


@pytest.mark.parametrize("seed", range(60))
def test_random_normal_crossings(seed):
    rng = random.Random(seed)
    size = rng.randint(1, 7)
    powers = [2 * rng.randint(0, 4) for _ in range(size - 1)] + [2 * rng.randint(1, 4)]
    jacobian = [rng.randint(0, 3) for _ in range(size)]
    ratios = [Fraction(h + 1, a) for a, h in zip(powers, jacobian, strict=True) if a]
    rlct = newton(monomial(powers), names(size), jacobian=jacobian)
    assert (rlct.learning_coefficient, rlct.multiplicity) == (min(ratios), ratios.count(min(ratios)))
    assert rlct.exact


BOUNDS = [
    ("(x + y)**2", "1", 1),
    ("(y - x**2)**2 + x**6", "3/4", 1),
    ("(x**2 + y**3)**2", "5/12", 1),
    ("(x**2 - y**2)**2", "1/2", 1),
    (["x**2 - y**2"], "1/2", 1),
    (["x**2 + y**3"], "5/12", 1),
]


@pytest.mark.parametrize(("polys", "bound", "multiplicity"), BOUNDS)
def test_degenerate_polynomials_get_a_bound_that_says_so(polys, bound, multiplicity):
    rlct = newton(polys, ["x", "y"])
    assert (str(rlct.learning_coefficient), rlct.multiplicity, rlct.exact) == (bound, multiplicity, False)
    assert "upper bound" in rlct.method
    assert str(rlct).startswith("λ <= ")
    assert plane_curve(polys, "x", "y").learning_coefficient <= rlct.learning_coefficient


XYZ = ["x", "y", "z"]
CERTIFIED = {
    "edge without real root": ("x**2 - x*y + y**2", True),
    "edge with a double root": ("x**2 - 2*x*y + y**2 + z**2", False),
    "irrational double root": ("(x**2 - 2*y**2)**2 + z**2", False),
    "edge root off the torus": ("x**4 + x**2*y**2 + y**6", True),
    "positive definite form": ("x**2 + y**2 + z**2 - x*y - y*z", True),
    "semidefinite form": ("x**2 + y**2 + z**2 - x*y - y*z - z*x", False),
    "Motzkin-like, positive": ("x**4*y**2 + x**2*y**4 + z**6 - 2*x**2*y**2*z**2", True),
    "Motzkin, zero at (1, 1, 1)": ("x**4*y**2 + x**2*y**4 + z**6 - 3*x**2*y**2*z**2", False),
    "zero common to no face": (["x + y**2 - z**2", "x*y", "y*z"], True),
    "three circles through a point": (["x**2 - y**2", "y**2 - z**2"], False),
    "complex zeros only": (["x**2 + x*y + y**2", "z**2"], True),
    "zero on an edge the other generators miss": (["x**2 + y**2", "x*z - y*z"], False),
    "norm of U Uᵀ": (["a**2 + b**2", "a*c + b*d", "c**2 + d**2"], True),
    "matrix product": (["a*x + b*y", "c*x + d*y"], False),
}


@pytest.mark.parametrize("case", CERTIFIED)
def test_exactness_is_claimed_where_it_is_proved(case):
    polys, exact = CERTIFIED[case]
    variables = sorted(
        {str(s) for f in ([polys] if isinstance(polys, str) else polys) for s in sympy.sympify(f).free_symbols}
    )
    assert newton(polys, variables).exact is exact


def test_norm_of_a_gram_matrix():
    u = [[sympy.Symbol(f"u{i}{k}") for k in range(2)] for i in range(3)]
    gram = [sum(u[i][k] * u[j][k] for k in range(2)) for i in range(3) for j in range(3)]
    rlct = newton(gram, [*u[0], *u[1], *u[2]])
    assert (rlct.learning_coefficient, rlct.multiplicity, rlct.exact) == (Fraction(3, 2), 1, True)


@pytest.mark.parametrize(
    ("polys", "at", "expected"),
    [
        (["x*y*z - 2"], (1, 1, 2), ("1/2", 1)),
        (["x + y", "x - y"], None, ("1", 1)),
        (["x + y**2", "x*z"], None, ("3/4", 1)),  # x = -y², then (y² z)²: 1/2 + 1/4
        (["x*(1 + y) - z**3", "x*y"], None, ("2/3", 1)),
        (["x - y", "y - z", "z - x"], None, ("1", 1)),
        (["x*y - 1", "(x - y)**2"], (1, 1, 0), ("3/4", 1)),
    ],
)
def test_smooth_generators_are_used_up(polys, at, expected):
    rlct = newton(polys, XYZ, at=at)
    assert rlct.exact
    assert (str(rlct.learning_coefficient), rlct.multiplicity) == expected


def test_a_coordinate_with_a_vanishing_prior_is_not_used_up():
    # K = x² + y⁴ with prior |x|²: λ = 3/2 + 1/4, where a free coordinate x would count 1/2.
    assert newton(["x", "y**2"], "x y", jacobian=[2, 0]).learning_coefficient == Fraction(7, 4)
    # y may be used up instead.
    assert newton(["x + y"], "x y", jacobian=[2, 0]).learning_coefficient == Fraction(1, 2)


def test_points_may_be_algebraic():
    root = sympy.sqrt(2)
    assert newton(["x*y - 2"], "x y", at=(root, root)).to_dict() == {
        "learning_coefficient": "1/2",
        "multiplicity": 1,
        "exact": True,
        "method": "1 coordinate eliminated",
    }
    squared = newton("(x**2 - 2)**2*y**2", "x y", at=(-root, 0))
    assert (squared.learning_coefficient, squared.multiplicity, squared.exact) == (Fraction(1, 2), 2, True)
    with pytest.raises(InputError, match=r"K\(at\) != 0"):
        newton(["x*y - 2"], "x y", at=(root, 1))
    undecided = newton("(x**2 - 2)**2 - 2*(x**2 - 2)*y + y**2", "x y", at=(root, 0))
    assert not undecided.exact


def test_free_variables_and_the_zero_polynomial():
    assert newton("x**2", XYZ) == newton("x**2", ["x"])
    for zero in ("0", ["0", 0], "x - x", ["x*y - y*x"]):
        rlct = newton(zero, XYZ)
        assert (rlct.learning_coefficient, rlct.multiplicity, rlct.exact) == (0, 1, True)


def test_larger_problems_stay_within_bounded_work():
    # 18 variables: too many faces for a certificate, so a bound, and a large ideal of all products.
    matrix = [f"a{i}1*b1{j} + a{i}2*b2{j} + a{i}3*b3{j}" for i in "123" for j in "123"]
    variables = [f"{v}{i}{j}" for v in "ab" for i in "123" for j in "123"]
    assert newton(matrix, variables).to_dict()["method"].endswith("too many faces to check")
    products = [f"{a}*{b}" for a, b in combinations(names(30), 2)]
    # v = 1/2 in every coordinate, or 1 in all but one.
    assert newton(products, names(30)).learning_coefficient == Fraction(30, 4)


@pytest.mark.parametrize(
    ("polys", "variables", "at", "message"),
    [
        ("sin(x)", "x", None, "function call"),
        (sympy.exp(sympy.Symbol("x")), "x", None, "not a polynomial"),
        ("x**2 + q", "x y", None, "unknown variable 'q'"),
        ("x**2 + 1", "x", None, r"K\(at\) != 0"),
        (["x", "y - 1"], "x y", (0, 0), r"K\(at\) != 0"),
        ("x**2", "x", (1,), r"K\(at\) != 0"),
        ("x**2", "x", (0.5,), "write 1/2 for 0.5"),
        ("x**2", "x", (0, 0), "2 coordinates"),
        ("x**3", "x", None, "negative"),
        ("-x**2", "x", None, "negative"),
        ("x*y", "x y", None, "negative"),
        ("x**2 - 3*x*y + y**2", "x y", None, "negative"),
        ("x**2 + y**2 + z**2 - 2*x*y - y*z - z*x", "x y z", None, "negative"),
        ("x**4*y**2 + x**2*y**4 + z**6 - 4*x**2*y**2*z**2", "x y z", None, "negative"),
        ("x**2 + y**4 - z**2", "x y z", None, "negative"),
        ("-(a**2 + b**2 + c**2 + d**2 + e**2 + f**2)**12", "f e d c b a", None, "negative"),
        ("(x**2 + y**2)**100000", "x y", None, "too big"),
        (["x", "(x + y)**99999"], "x y", None, "too big"),
        ([], "x", None, "empty"),
        (None, "x", None, "expected a polynomial"),
    ],
)
def test_bad_input_is_refused(polys, variables, at, message):
    with pytest.raises(InputError, match=message) as refusal:
        newton(polys, variables, at=at)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("jacobian", [[0], [0, -1], [0, 0.5], [0, "1"]])
def test_bad_jacobians_are_refused(jacobian):
    with pytest.raises(InputError, match="Jacobian exponent"):
        newton("x**2*y**2", "x y", jacobian=jacobian)


def test_minimal_exponents():
    assert sorted(minimal([(2, 0), (3, 0), (0, 2), (2, 2), (1, 1), (2, 0)])) == [(0, 2), (1, 1), (2, 0)]


def test_membership_in_the_polyhedron():
    corners = [(4, 0), (0, 4)]
    assert in_polyhedron((2, 2), corners)
    assert in_polyhedron((0, 5), corners)
    assert not in_polyhedron((1, 2), corners)
    assert not in_polyhedron((0, 3), corners)
    assert not in_polyhedron((3, 0), [(2, 1)])


def test_compact_faces_of_a_simplex_and_of_a_staircase():
    simplex = [tuple(2 * int(i == j) for j in range(4)) for i in range(4)]
    assert len(compact_faces(simplex)) == 2**4 - 1
    staircase = [(6, 0), (2, 2), (0, 6)]
    assert compact_faces(staircase) == [[(6, 0)], [(2, 2)], [(0, 6)], [(6, 0), (2, 2)], [(2, 2), (0, 6)]]


def test_compact_faces_have_the_euler_characteristic_of_a_ball():
    # The union of the compact faces is contractible: Σ (-1)^dimension = 1, whatever the exponents.
    rng = random.Random(0)
    for _ in range(40):
        size = rng.randint(2, 4)
        exponents = minimal(tuple(rng.randint(0, 4) for _ in range(size)) for _ in range(6))
        dimensions = [len(face_coordinates(face)[0]) for face in compact_faces(exponents)]
        assert sum((-1) ** d for d in dimensions) == 1


def test_bland_pivots_reach_the_same_optimum(monkeypatch):
    exponents = minimal(tuple(random.Random(i).choices(range(4), k=4)) for i in range(1, 20))
    weights = [Fraction(1)] * 4
    greedy = diagonal_face(exponents, weights)
    monkeypatch.setattr("slt.exact.linear_program.GREEDY_PIVOTS", 0)
    assert diagonal_face(exponents, weights) == greedy
