"""Synthetic series with known boundaries, how detections of them are scored, and other detectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MARGIN = 2.0  # checkpoints
FAMILIES = ("staircase", "ramp", "shoulder", "smooth", "constant")
SHARP = FAMILIES[:3]  # whose boundaries are points
LEAST_LEVEL, MOST_LEVEL = 3.0, 300.0  # of the learning coefficient


@dataclass(frozen=True)
class Series:
    """A noisy series, and where its boundaries are, in log step: (position, which interval should cover it)."""

    family: str
    step: np.ndarray
    llc: np.ndarray
    error: np.ndarray
    boundaries: list[tuple[float, str]]

    @property
    def x(self) -> np.ndarray:
        return np.log(self.step)


def make(family: str, rng: np.random.Generator) -> Series:
    count = int(rng.choice([40, 60, 100]))
    step = np.unique(np.geomspace(100, 100_000, count).round().astype(int))
    x = np.log(step)
    gap = (x[-1] - x[0]) / (count - 1)
    knots, values, boundaries = [x[0]], [rng.uniform(5, 50)], []
    at = x[0] + gap * rng.uniform(6, 12)
    smooth = np.zeros_like(x)
    for _ in range(0 if family == "constant" else int(rng.integers(1, 4))):
        factor = np.exp(rng.uniform(np.log(1.6), np.log(4))) * (1.6 if family == "shoulder" else 1)
        up = values[-1] / factor < LEAST_LEVEL or (values[-1] * factor < MOST_LEVEL and rng.random() < 0.6)
        level = values[-1] * (factor if up else 1 / factor)
        width = gap * (1e-6 if family == "staircase" else rng.uniform(4, 12))
        if family == "shoulder":
            width *= 3
        if at + width > x[-1] - 6 * gap:
            break
        if family == "shoulder":  # a third of the way up, a third of pause, a third up again
            flat = values[-1] + (level - values[-1]) * np.array([0.5, 0.5 + rng.choice([0, 1 / 12])])
            points = at + width * np.array([0, 1 / 3, 2 / 3, 1])
            knots += list(points)
            values += [values[-1], *flat, level]
            boundaries += [(p, which) for p, which in zip(points, ["start", "end", "start", "end"], strict=True)]
        else:
            if family == "smooth":  # the tangent at the middle meets the levels at the ends
                smooth += (level - values[-1]) / (1 + np.exp(-4 * (x - at - width / 2) / width))
            knots += [at, at + width]
            values += [values[-1], level]
            boundaries += [(at, "middle")] if family == "staircase" else [(at, "start"), (at + width, "end")]
        at += width + gap * rng.uniform(6, 16)
    truth = values[0] + smooth if family == "smooth" else np.interp(x, knots, values)
    error = truth * rng.uniform(0.03, 0.05, len(x))
    llc = truth + error * rng.standard_normal(len(x))
    return Series(family, step, llc, error * np.exp(0.12 * rng.standard_normal(len(x))), boundaries)


def score(series: Series, found: list[float]) -> tuple[int, int, int, list[tuple[int, int]]]:
    """Hits, false alarms, misses, and which were matched, nearest first."""
    place = np.arange(len(series.x))
    truth = np.interp([position for position, _ in series.boundaries], series.x, place)
    seen = np.interp(found, series.x, place)
    pairs = sorted((abs(t - s), i, j) for i, t in enumerate(truth) for j, s in enumerate(seen))
    matched: list[tuple[int, int]] = []
    for distance, i, j in pairs:
        if distance <= MARGIN and all(i != a and j != b for a, b in matched):
            matched.append((i, j))
    return len(matched), len(found) - len(matched), len(truth) - len(matched), matched


def f1(counts: list[tuple[int, int, int]]) -> float:
    hits, false, missed = np.sum(counts, axis=0) if counts else (0, 0, 0)
    return float(2 * hits / max(1, 2 * hits + false + missed))


def others() -> dict[str, tuple[Callable[[Series, float], list[float]], np.ndarray]]:
    """Detectors (series, knob) -> positions, and the knobs to choose from."""

    def slopes(series: Series, threshold: float) -> list[float]:
        smoothed = np.convolve(np.pad(series.llc / series.error.mean(), 2, mode="edge"), np.full(5, 0.2), mode="valid")
        moving = np.abs(np.gradient(smoothed)) > threshold
        edges = np.flatnonzero(np.diff(np.concatenate([[0], moving.astype(int), [0]])))
        return [float(series.x[min(edge, len(series.x) - 1)]) for edge in edges]

    detectors: dict[str, tuple[Callable[[Series, float], list[float]], np.ndarray]] = {
        "threshold on the derivative": (slopes, np.geomspace(0.1, 5, 15))
    }
    try:
        import ruptures
    except ImportError:
        print("ruptures is not installed: its detectors are left out")
        return detectors

    def wrap(build: Callable[[], Any], log: bool) -> Callable[[Series, float], list[float]]:
        def detect(series: Series, penalty: float) -> list[float]:
            signal = np.log(np.maximum(series.llc, 1e-3)) / 0.04 if log else series.llc / np.median(series.error)
            ends = build().fit(signal[:, None]).predict(pen=penalty)[:-1]
            return [float(0.5 * (series.x[end - 1] + series.x[end])) for end in ends]

        return detect

    # Relative errors: on log λ they are all the same, which is what a cost without known errors wants.
    penalties = np.geomspace(3, 300, 10)
    detectors["PELT, l2"] = wrap(lambda: ruptures.Pelt("l2", min_size=1, jump=1), True), penalties
    detectors["PELT, continuous linear"] = wrap(lambda: ruptures.Pelt("clinear", min_size=2, jump=1), True), penalties
    detectors["KernelCPD, rbf"] = wrap(lambda: ruptures.KernelCPD("rbf", min_size=1), True), np.geomspace(0.2, 20, 10)
    return detectors
