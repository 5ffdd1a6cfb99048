"""A second algorithm for two variables: blow up points until all is normal crossings, then read off the divisors.

Shares nothing with `plane_curve` but flint's arithmetic: no Newton polygon, no adapted coordinates.
"""

from fractions import Fraction

from flint import fmpq, fmpz_poly

NONE = (0, 0)  # no exceptional divisor along that axis


class OutOfReach(Exception):
    """A point to blow up has irrational coordinates, or lies beyond MAX_DEPTH blow-ups."""


MAX_DEPTH = 15


def learning_coefficient(K):
    """(λ, m) of K at the origin, from K's square-free factors."""
    points = _points(K)
    smallest = min(Fraction(k + 1, n) for point in points for n, k in point)
    return smallest, max(sum(Fraction(k + 1, n) == smallest for n, k in point) for point in points)


def branch_multiplicities(K):
    """The multiplicities of the real branches of K = 0 through the origin."""
    return {n for point in _points(K) for n, k in point if k == 0}


def _points(K):
    points = []
    _resolve([(g, int(n)) for g, n in K.factor_squarefree()[1]], NONE, NONE, points)
    return points


def _resolve(factors, along_x0, along_y0, points, depth=0):
    """Append to `points`, for each real point above, the divisors (N, k) through it: f ~ u^N, Jacobian ~ u^k."""
    through = [(g, n) for g, n in factors if g[0, 0] == 0]
    divisors = [d for d in (along_x0, along_y0) if d != NONE]
    if not through:
        points.append(divisors)
        return
    if len(through) == 1 and len(divisors) < 2:
        g, n = through[0]
        transversal = (g[1, 0] != 0 or g[0, 1] != 0) if not divisors else g[(0, 1) if along_x0 != NONE else (1, 0)] != 0
        if transversal:
            points.append([*divisors, (n, 0)])
            return
    if depth == MAX_DEPTH:
        raise OutOfReach
    orders = [min(int(i + j) for i, j in g.monoms()) for g, _ in through]
    new = (
        along_x0[0] + along_y0[0] + sum(n * order for (_, n), order in zip(through, orders, strict=True)),
        along_x0[1] + along_y0[1] + 1,
    )
    points.append([new])
    x, y = through[0][0].context().gens()
    # The chart (x, y) -> (x y, y) is needed at its origin only.
    second = [(_divide(g.compose(x * y, y), (0, order)), n) for (g, n), order in zip(through, orders, strict=True)]
    _resolve(second, along_x0, new, points, depth + 1)
    first = [(_divide(g.compose(x, x * y), (order, 0)), n) for (g, n), order in zip(through, orders, strict=True)]
    _resolve(first, new, along_y0, points, depth + 1)
    on_divisor = [(_univariate(g), g, n) for g, n in first]
    product = fmpz_poly([1])
    for h, _, _ in on_divisor:
        product *= h
    for factor, multiplicity in product.factor()[1]:
        if factor.degree() == 1 and factor[0] != 0:
            root = fmpq(-factor[0], factor[1])
            _resolve([(g.compose(x, y + root), n) for g, n in first], new, NONE, points, depth + 1)
        elif factor.degree() > 1 and any(root.imag == 0 for root, _ in factor.complex_roots()):
            if multiplicity > 1:
                raise OutOfReach
            points.append([new, next((n, 0) for h, _, n in on_divisor if h % factor == 0)])


def _divide(g, monomial):
    i, j = monomial
    return g.context().from_dict({(a - i, b - j): c for (a, b), c in g.terms()})


def _univariate(g):
    """g(0, y), up to a factor."""
    coefficients = {int(j): c for (i, j), c in g.terms() if i == 0}
    denominator = 1
    for c in coefficients.values():
        denominator *= int(c.q)
    return fmpz_poly([int((coefficients.get(j, fmpq(0)) * denominator).p) for j in range(max(coefficients) + 1)])
