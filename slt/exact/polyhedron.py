"""Newton polyhedra in any dimension: minimal exponents and compact faces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from math import gcd

import numpy as np

from slt.exact.linear_program import Exponent

MAX_WORK = 5_000_000  # comparisons of rays: a few seconds
MAX_FACES = 4000


def minimal(exponents: Iterable[Exponent]) -> list[Exponent]:
    """Return the exponents that no other one divides; all compact faces are among them."""
    kept: list[Exponent] = []
    for _, group in groupby(sorted(set(exponents), key=sum), key=sum):
        # Exponents of one degree never divide each other, so only those of lower degree need be compared.
        lower = np.array(kept, dtype=np.int64)
        kept += [a for a in group if not kept or not np.any(np.all(lower <= np.array(a), axis=1))]
    return kept


def compact_faces(exponents: Sequence[Exponent]) -> list[list[Exponent]] | None:
    """Return for each compact face of conv(exponents) + R^d_+ the exponents on it; None where there are too many.

    Every face is an intersection of facets. A facet is an extreme ray (v, t) of the cone of inequalities
    {(v, t) >= 0 : v·a >= t for all a}; the face with facets R is compact if no direction e_j has v_j = 0 in all of R.
    """
    rays = _extreme_rays(exponents)
    if rays is None:
        return None
    facets = set()
    for *v, t in rays:
        on = sum(1 << i for i, a in enumerate(exponents) if sum(map(int.__mul__, v, a)) == t)
        directions = sum(1 << j for j, value in enumerate(v) if value == 0)
        if on:
            facets.add((on, directions))
    faces = set(facets)
    pending = list(facets)
    while pending:
        on, directions = pending.pop()
        for more_on, more_directions in facets:
            face = (on & more_on, directions & more_directions)
            if face[0] and face not in faces:
                faces.add(face)
                pending.append(face)
        if len(faces) > MAX_FACES:
            return None
    compact = {on for on, directions in faces if directions == 0}
    return [[a for i, a in enumerate(exponents) if on >> i & 1] for on in sorted(compact, key=int.bit_count)]


def face_coordinates(face: Sequence[Exponent]) -> list[Exponent]:
    """Return exponents of as many variables as the face has dimensions, after an invertible change of monomials.

    A unimodular substitution maps the torus onto itself; what remains constant on the face is a common monomial
    factor and is dropped, and exponents are shifted to be non-negative. Zeros in the torus are preserved, over the
    reals and over the complex numbers.
    """
    differences = [[value - first for value, first in zip(a, face[0], strict=True)] for a in face]
    columns = [list(column) for column in zip(*differences, strict=True)]
    done: list[list[int]] = []
    for row in range(len(face)):
        while len(busy := sorted((c for c in columns if c[row]), key=lambda c: abs(c[row]))) > 1:
            for column in busy[1:]:
                factor = column[row] // busy[0][row]
                for i, value in enumerate(busy[0]):
                    column[i] -= factor * value
        for column in busy:
            columns = [c for c in columns if c is not column]
            done.append([value - min(column) for value in column])
    return list(zip(*done, strict=True)) if done else [()] * len(face)


def components(supports: Collection[Collection[Exponent]], dimension: int) -> list[set[int]]:
    """Return the blocks of variables such that no generator (given by its exponents) mixes two of them."""
    blocks: list[set[int]] = []
    for support in supports:
        block = {j for exponent in support for j in range(dimension) if exponent[j]}
        touching = [other for other in blocks if other & block]
        blocks = [other for other in blocks if not other & block] + [block.union(*touching)]
    return blocks


def _extreme_rays(exponents: Sequence[Exponent]) -> list[list[int]] | None:
    """Double description: cut the orthant of (v, t) by one inequality v·a - t >= 0 after another."""
    size = len(exponents[0]) + 1
    constraints = [[*a, -1] for a in exponents]
    # Each ray carries the set of inequalities it satisfies with equality, as bits: first the orthant's, then ours.
    rays = [([int(i == j) for j in range(size)], ((1 << size) - 1) & ~(1 << i)) for i in range(size)]
    work = 0
    for index, constraint in enumerate(constraints):
        bit = 1 << (size + index)
        values = [sum(map(int.__mul__, ray, constraint)) for ray, _ in rays]
        kept = [(r, z | bit if s == 0 else z) for (r, z), s in zip(rays, values, strict=True) if s >= 0]
        above = [(r, z, s) for (r, z), s in zip(rays, values, strict=True) if s > 0]
        below = [(r, z, s) for (r, z), s in zip(rays, values, strict=True) if s < 0]
        zeros = [z for _, z in rays]
        work += len(rays) * (len(above) * len(below) + 1)
        if work > MAX_WORK:
            return None
        for r, z, s in above:
            for other, other_z, other_s in below:
                common = z & other_z
                if common.bit_count() < size - 2 or sum(common & w == common for w in zeros) > 2:
                    continue
                ray = [s * b - other_s * a for a, b in zip(r, other, strict=True)]
                divisor = gcd(*ray)
                kept.append(([value // divisor for value in ray], common | bit))
        rays = kept
    return [ray for ray, _ in rays]
