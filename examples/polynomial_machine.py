"""One model, many functions, one λ: the multiplicity m is what tells them apart.

    python examples/polynomial_machine.py

f(x) = θ1 + θ2θ3 x + θ4θ5θ6 x² + θ7θ8θ9θ10 x³ + θ11...θ15 x⁴. Coefficient j is a product of j parameters of its own;
where it vanishes, at the deepest point all of its factors do. The posterior volume goes like n^(-λ) (log n)^(m-1), so
functions with the same λ are ordered by m: the more coefficients vanish, the more volume.
"""

from slt.exact import newton

FACTORS = (1, 2, 3, 4, 5)
TRUTHS = {
    "0": (0, 0, 0, 0, 0),
    "1 + x": (1, 1, 0, 0, 0),
    "x + x^3": (0, 1, 0, 1, 0),
    "x^4": (0, 0, 0, 0, 1),
    "1 + x + x^2 + x^3 + x^4": (1, 1, 1, 1, 1),
}


def main() -> None:
    names = [f"t{i}" for i in range(1, sum(FACTORS) + 1)]
    print(f"{'true function':26} {'λ':>4} {'m':>3}")
    for text, truth in TRUTHS.items():
        parameters, polynomials, point = iter(names), [], []
        for factors, value in zip(FACTORS, truth, strict=True):
            own = [next(parameters) for _ in range(factors)]
            polynomials.append("*".join(own) + (f" - {value}" if value else ""))
            point += [value] * factors
        rlct = newton(polynomials, names, at=point)
        assert rlct.exact
        print(f"{text:26} {rlct.learning_coefficient!s:>4} {rlct.multiplicity:>3}")


if __name__ == "__main__":
    main()
