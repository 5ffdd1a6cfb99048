"""Two variables: against resolution by blowing up, known answers, and the published polynomial networks."""

import random
from fractions import Fraction
from importlib import import_module

import pytest
import sympy
from blow_up import OutOfReach, branch_multiplicities, learning_coefficient
from flint import fmpq, fmpz_poly

from benchmarks import polynomial_networks
from samplers.errors import InputError
from slt.exact import newton, plane_curve
from slt.exact.arithmetic import Arithmetic
from slt.exact.polygon import terms_of, vertices
from slt.exact.univariate import has_real_root, has_root_within, root_bound

x, y = Arithmetic(["x", "y"]).context.gens()


def exact(polys, at=None):
    names = ("x", "y") if isinstance(polys, str) or isinstance(polys[0], str) else ("x0", "x1")
    rlct = plane_curve(polys, *names, at=at)
    assert rlct.exact
    return str(rlct.learning_coefficient), rlct.multiplicity


def as_sympy(f):
    terms = {(int(i), int(j)): sympy.Rational(int(c.p), int(c.q)) for (i, j), c in f.terms()}
    return sympy.Poly.from_dict(terms, *sympy.symbols("x y"), domain="QQ")


def random_branch(rng):
    def c():
        return fmpq(rng.choice([-2, -1, 1, 2, 3]), rng.choice([1, 1, 2]))

    p = rng.randint(1, 3)
    f = rng.choice(
        [
            y - c() * x**p - rng.choice([0, 1]) * x ** (p + 1),
            y**2 - c() * x ** rng.randint(1, 5),
            y**2 + x**2 * rng.randint(1, 3) + c() * x**3,
            (y - x**p) ** 2 - c() * x ** rng.randint(2 * p, 2 * p + 4),
            y + c() * y**2 - x,
            y - x,
        ]
    )
    return f.compose(y, x) if rng.random() < 0.4 else f


def random_generators(rng):
    """Products of branches, smooth and cuspidal, real and complex, with common and repeated ones."""
    common = x**0
    for _ in range(rng.randint(0, 2)):
        common *= random_branch(rng) ** rng.randint(1, 2)
    generators = []
    for _ in range(rng.randint(1, 2)):
        f = common
        for _ in range(rng.randint(0 if common != 1 else 1, 2)):
            f *= random_branch(rng) ** rng.randint(1, 2)
        generators.append(f * x ** rng.choice([0, 0, 0, 1, 2]))
    return generators


@pytest.mark.parametrize("block", range(15))
def test_random_curves_against_blowing_up(block):
    # 20 instances a block, 300 in all; the generator list and the expanded sum of squares are both tried.
    checked = 0
    for seed in range(20 * block, 20 * block + 20):
        generators = random_generators(random.Random(seed))
        K = sum((f * f for f in generators), x * 0)
        try:
            expected = learning_coefficient(K)
        except OutOfReach:
            continue
        checked += 1
        for rlct in (plane_curve(generators, "x0", "x1"), plane_curve(as_sympy(K), "x", "y")):
            assert (rlct.learning_coefficient, rlct.multiplicity) == expected, generators
        for polyhedron in (newton(generators, "x0 x1"), newton(as_sympy(K), "x y")):
            assert polyhedron.learning_coefficient >= expected[0]
            if polyhedron.exact:
                assert (polyhedron.learning_coefficient, polyhedron.multiplicity) == expected
    assert checked >= 18


@pytest.mark.parametrize("block", range(5))
def test_random_sign_changes_against_blowing_up(block):
    # f changes sign near 0 if and only if a branch of odd multiplicity is real.
    seen = set()
    for seed in range(60 * block, 60 * block + 60):
        rng = random.Random(seed)
        f = x**0 * rng.choice([1, 1, 1, -1])
        for _ in range(rng.randint(1, 3)):
            f *= random_branch(rng) ** rng.choice([1, 2, 2, 2])
        if rng.random() < 0.5:
            f += rng.choice([1, -1]) * x ** rng.randint(4, 14)
        try:
            odd = any(n % 2 for n in branch_multiplicities(f))
        except OutOfReach:
            continue
        negative = odd or terms_of(f)[vertices(terms_of(f))[0]] < 0
        try:
            plane_curve(as_sympy(f), "x", "y")
            refused = False
        except InputError:
            refused = True
        assert refused == negative, f
        seen.add(negative)
    assert seen == {True, False}


KNOWN = {
    # adapted from the start
    "x**2*y**2": ("1/2", 2),
    "x**2*y**4": ("1/4", 1),
    "x**4 + y**6": ("5/12", 1),
    "x**6 + x**2*y**2 + y**6": ("1/2", 2),
    "(x**2 + y**3)**2": ("5/12", 1),
    # the multiplicity of real roots, irrational ones too, decides m
    "(x**2 - y**2)**2": ("1/2", 2),
    "(x**2 - 2*y**2)**2": ("1/2", 2),
    "(x**2 + 2*y**2)**2": ("1/2", 1),
    "(x**4 - 2*y**4)**2": ("1/4", 1),
    "(x**2 - 2*y**2)**2 + x**10": ("1/2", 2),
    # one change of variable, or several, or with x and y exchanged
    "(y - x**2)**2 + x**6": ("2/3", 1),
    "(x - y**2)**2 + y**6": ("2/3", 1),
    "(y - x - x**2 - x**3)**2 + x**12": ("7/12", 1),
    "(y - x/3)**4 + x**10": ("7/20", 1),
    "(y - x)**4 + (y - x)**2*x**4 + x**10": ("3/8", 1),
    "((y - x)**2*(y - x - x**5))**2*x**2": ("3/16", 1),
    # a multiple smooth branch, polynomial or not
    "(x + y)**2": ("1/2", 1),
    "(y + y**2 - x)**2": ("1/2", 1),
    "(y - x**2)**4*(1 + x)": ("1/4", 1),
    "(y**2 + 2*y - x)**4*((y**2 + 2*y - x)**2 + x**50)": ("52/300", 1),
}


@pytest.mark.parametrize("poly", KNOWN)
def test_known_answers(poly):
    coefficient, multiplicity = KNOWN[poly]
    assert exact(poly) == (str(Fraction(coefficient)), multiplicity)


@pytest.mark.parametrize(
    ("polys", "at", "expected"),
    [
        (["x*y"], None, ("1/2", 2)),
        (["x**2 - y**2"], None, ("1/2", 2)),
        (["x", "y**2"], None, ("3/4", 1)),
        (["x + y", "x - y"], None, ("1", 1)),
        (["y - x**2", "x**3"], None, ("2/3", 1)),
        (["x*y - 1", "x - y"], (-1, -1), ("1", 1)),
        ("x**2*y**4", (0, 1), ("1/2", 1)),
        ("x**2*y**4", ("1/2", 0), ("1/4", 1)),
        ("0", None, ("0", 1)),
        (["0", "x*y - y*x"], (3, 4), ("0", 1)),
    ],
)
def test_lists_and_other_points(polys, at, expected):
    assert exact(polys, at) == expected


def test_the_stopping_rule_does_not_wait_for_branches_that_never_part():
    # x = y + y² has an infinite Puiseux series in x; its multiplicity 6 is known at the first step.
    assert plane_curve(["(y + y**2 - x)**3"], "x", "y").method.startswith("a smooth branch of multiplicity 3")
    # Two branches which agree to order 9 part at the ninth change of variable and not before.
    apart = plane_curve("(y + y**2 - x)**2 + x**20", "x", "y")
    assert (apart.learning_coefficient, apart.method) == (
        Fraction(11, 20),
        "adapted coordinates after 9 changes of variable",
    )


@pytest.mark.parametrize(("power", "layers", "published"), [row[:3] for row in polynomial_networks.PUBLISHED])
def test_published_polynomial_networks(power, layers, published):
    rlct = polynomial_networks.network(power, layers)
    assert (str(rlct.learning_coefficient), rlct.multiplicity, rlct.exact) == (published, 1, True)


@pytest.mark.parametrize(("power", "layers"), [(2, 3), (3, 3), (4, 3)])
def test_networks_with_the_squares_formed(power, layers):
    coefficients = polynomial_networks.output_coefficients(power, layers)
    K = sum((f * f for f in coefficients), coefficients[0] * 0)
    expected = plane_curve(coefficients, "a", "b").learning_coefficient
    assert plane_curve(K, "a", "b").learning_coefficient == expected


def test_network_loss_itself_for_gaussian_inputs():
    # L = 2, r = 2: outputs c0 x1² + c1 x1 x2 + c2 x2², so E f² = 3 c0² + 3 c2² + c1² + 2 c0 c2.
    a, b = sympy.symbols("a b")
    w = sympy.Matrix([[a + b, a**2], [a**2, b**2]])
    squares = [(row[0] ** 2, 2 * row[0] * row[1], row[1] ** 2) for row in w.tolist()]
    outputs = [[w[i, 0] * squares[0][k] + w[i, 1] * squares[1][k] for k in range(3)] for i in range(2)]
    K = sum(3 * c[0] ** 2 + 3 * c[2] ** 2 + c[1] ** 2 + 2 * c[0] * c[2] for c in outputs)
    assert plane_curve(K, a, b).learning_coefficient == Fraction(1, 4)


@pytest.mark.parametrize(
    ("poly", "at", "message"),
    [
        ("x", None, "negative"),
        ("x*y", None, "negative"),
        ("-x**2 - y**2", None, "negative"),
        ("x**2 - y**2", None, "negative"),
        ("x**2 - 3*x*y + y**2", None, "negative"),
        ("y**2 - x**3", None, "negative"),
        ("(y - x)**2 - x**10", None, "negative"),
        ("(y - x)**2*(x**2 + y**2) - x**10", None, "negative"),
        ("(y**2 - 2*x**2)**2 - x**10", None, "negative"),
        ("(y**2 - x**3)**2 - x**12*y", None, "negative"),
        ("x**2 - y**2", (1, 1), r"negative near \(1, 1\)"),
        ("x**2 + 1", None, r"K\(at\) != 0"),
        (["x", "y"], (0, 1), r"K\(at\) != 0"),
        ("x**2 + z**2", None, "unknown variable 'z'"),
        ("sin(x)", None, "function call"),
        ("x**2", (0.5, 0), "write 1/2 for 0.5"),
        ("x**2 - 2", (sympy.sqrt(2), 0), "needs rational coordinates"),
        ("(x + y)**4000", None, "too big"),
        ([], None, "empty"),
    ],
)
def test_bad_input_is_refused(poly, at, message):
    with pytest.raises(InputError, match=message) as refusal:
        plane_curve(poly, "x", "y", at=at)
    assert "\n" not in str(refusal.value)


def test_variables_must_be_two_different_ones():
    with pytest.raises(InputError, match="not distinct"):
        plane_curve("x**2", "x", "x")


@pytest.mark.parametrize("poly", ["(y**2 - x**3)**2 + x**12*y**2", "(y - x)**2 + x**10", "(y**2 - 2*x**2)**2 + x**10"])
def test_nonnegative_ones_with_real_roots_pass(poly):
    assert "assumed" not in plane_curve(poly, "x", "y").method


def test_a_test_of_sign_too_expensive_to_run_is_mentioned():
    f = "((y - x)**4 + x**20 + y**21)**2 + (x**9*y**9)**2 + x**23*y**23"
    assert plane_curve(f, "x", "y").method.endswith("K >= 0 assumed")


def test_changes_of_variable_are_bounded(monkeypatch):
    monkeypatch.setattr(import_module("slt.exact.plane_curve"), "MAX_WORK", 10_000)
    with pytest.raises(InputError, match=r"change of variable \d+ makes the polynomial too big"):
        plane_curve("(y + y**2 - x)**2 + x**900", "x", "y")


@pytest.mark.parametrize("seed", range(30))
def test_real_roots_are_found_exactly(seed):
    rng = random.Random(seed)
    roots = {fmpq(rng.randint(-9, 9), rng.randint(1, 5)) for _ in range(rng.choice([0, 0, 1, 2, 5]))}
    poly, irrational = rng.choice([(fmpz_poly([3, 0, 1]), 0), (fmpz_poly([-2, 0, 0, 0, 1]), 2)])
    for root in roots:
        poly *= fmpz_poly([-root.p, root.q])
    assert has_real_root(poly) == (len(roots) + irrational > 0)
    assert has_root_within(poly, fmpq(1000)) == (len(roots) + irrational > 0)
    assert has_root_within(poly, root_bound(poly)) == (0 in roots)
    # ±2^(1/4) = ±1.1892...
    nearby = any(abs(root) < fmpq(1189, 1000) for root in roots)
    assert has_root_within(poly, fmpq(1189, 1000)) == nearby
    assert has_root_within(poly, fmpq(11893, 10000)) == (nearby or irrational > 0)


def test_real_roots_close_to_each_other_and_to_the_axis():
    apart = 10**30
    assert has_real_root(fmpz_poly([-1, 0, apart]) * fmpz_poly([-1, 0, apart + 1]))
    assert not has_real_root(fmpz_poly([1, 0, apart]) * fmpz_poly([1, 0, apart + 1]))
    assert not has_real_root(fmpz_poly([1, -1000]) ** 2 + fmpz_poly([0] * 20 + [1]))
    assert has_real_root(fmpz_poly([1, -1000]) ** 2 - fmpz_poly([0] * 20 + [1]))
    assert not has_real_root(sum((fmpz_poly([1, -k]) ** 200 for k in range(1, 6)), fmpz_poly([0])))
