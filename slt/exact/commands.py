"""Exact answers from the words of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from samplers.errors import InputError
from slt.exact.families import FAMILIES
from slt.exact.newton import newton
from slt.exact.plane_curve import plane_curve
from slt.exact.polynomial import names_in
from slt.exact.rlct import RLCT

_COORDINATE = re.compile(r"[+-]?[0-9]{1,9}(/[1-9][0-9]{0,8}|\.[0-9]{1,9})?")


def exact_family(name: str, words: Sequence[str]) -> RLCT:
    """The closed form called `name`; InputError lists the names where there is none."""
    if name not in FAMILIES:
        raise InputError(f"no family {name!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[name].evaluate(list(words))


def exact_polynomials(texts: Sequence[str], at: str | None = None, variables: str | None = None) -> RLCT:
    """(λ, m) of K, or of Σ f_i² where there are several texts, at the point `at` ("0,1/2"), over `variables` ("x,y").

    Two variables go to `plane_curve`, which is exact for every polynomial; any other number to `newton`.
    """
    if variables is None:
        names = tuple(sorted({name for text in texts for name in names_in(text)}))
        if not names:
            raise InputError(f"{texts[0]!r} has no variables: a learning coefficient belongs to a polynomial in some")
    else:
        names = tuple(name.strip() for name in variables.split(","))
    point = None if at is None else [_coordinate(word.strip()) for word in at.split(",")]
    polys = list(texts) if len(texts) > 1 else texts[0]
    if len(names) == 2:
        x, y = names
        return plane_curve(polys, x, y) if point is None else plane_curve(polys, x, y, at=point)
    return newton(polys, names, at=point)


def _coordinate(word: str) -> Fraction:
    if not _COORDINATE.fullmatch(word):
        raise InputError(f"--at takes rational numbers with commas between them, such as 0,1/2, got {word[:20]!r}")
    return Fraction(word)
