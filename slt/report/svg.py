"""Line charts as inline SVG: colours by CSS class, so that a page can be light, dark or printed."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

Values = Sequence[float] | np.ndarray

LEFT, RIGHT, TOP, BOTTOM = 62, 30, 28, 34  # pixels around the plot


@dataclass(frozen=True)
class Axis:
    """Data to pixels, with ticks at round numbers. On a logarithmic axis of steps, step 0 sits one mark to the left."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(
        cls, values: Iterable[float] | np.ndarray, start: float, end: float, *, log: bool = False, margin: float = 0.0
    ) -> "Axis":
        """An axis that holds all the values, with some of their range left free at both ends."""
        finite = [float(value) for value in values if math.isfinite(value)] or [0.0, 1.0]
        if log:
            positive = [value for value in finite if value > 0] or [1.0]
            low, high = min(positive) / (1.6 if min(finite) <= 0 else 1.0), max(positive)
            room = max(high / low, 1.01) ** margin
            return cls(low / room, max(high, low * 1.01) * room, start, end, True)
        low, high = min(finite), max(finite)
        room = (high - low) * margin or (0.0 if high > low else abs(high) or 1.0)
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """The pixel of a value; values off the axis are put at its end."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten (and multiples, where there are few), or about six round numbers."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for factors in ((1,), (1, 3), (1, 2, 5)):
                found = [f * 10.0**d for d in decades for f in factors if self.low <= f * 10.0**d <= self.high * 1.0001]
                if len(found) >= 4:
                    return found
        raw = (self.high - self.low) / 6
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(f * unit for f in (1, 2, 5, 10) if f * unit >= raw)
        return [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


@dataclass
class Chart:
    """A plot area with two axes; what is drawn is added in order."""

    x: Axis
    y: Axis
    width: int
    height: int
    label: str
    parts: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        x: Values,
        y: Values,
        label: str,
        *,
        width: int = 1040,
        height: int = 300,
        log_x: bool = False,
        log_y: bool = False,
    ) -> "Chart":
        """A chart whose axes hold all of x and y."""
        across = Axis.of(x, LEFT, width - RIGHT, log=log_x)
        return cls(across, Axis.of(y, height - BOTTOM, TOP, log=log_y, margin=0.06), width, height, label)

    def line(self, x: Values, y: Values, kind: str) -> None:
        """A polyline, broken where y is not finite."""
        for piece in _finite_pieces(x, y):
            if len(piece) > 1:
                self.parts.append(f'<polyline class="{kind}" points="{self._points(piece)}"/>')

    def band(self, x: Values, low: Values, high: Values, kind: str) -> None:
        """The area between two curves."""
        upper = _finite_pieces(x, high)
        lower = _finite_pieces(x, low)
        for top, bottom in zip(upper, lower, strict=True):
            self.parts.append(f'<polygon class="{kind}" points="{self._points([*top, *bottom[::-1]])}"/>')

    def span(self, start: float, end: float, kind: str, title: str) -> None:
        """A range of x, shaded over the whole height, at least two pixels wide."""
        left, right = self.x.at(start), self.x.at(end)
        box = f'x="{left:.1f}" y="{TOP}" width="{max(2.0, right - left):.1f}" height="{self.height - TOP - BOTTOM}"'
        self.parts.append(f'<rect class="{kind}" {box}><title>{escape(title)}</title></rect>')

    def point(self, x: float, y: float, kind: str, title: str, link: str) -> None:
        """A point that links somewhere on the page; y that is not finite is put at the bottom."""
        across, up = self.x.at(x), self.y.at(y) if math.isfinite(y) else self.height - BOTTOM - 6
        mark = f'<circle class="{kind}" cx="{across:.1f}" cy="{up:.1f}" r="4"><title>{escape(title)}</title></circle>'
        self.parts.append(f'<a href="#{escape(link)}">{mark}</a>')

    def svg(self, x_label: str = "") -> str:
        """The chart with its axes."""
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        frame = []
        for value in self.y.ticks():
            at = self.y.at(value)
            frame.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            frame.append(f'<text class="tick end" x="{LEFT - 7}" y="{at + 4:.1f}">{_number(value)}</text>')
        for value in self.x.ticks():
            at = self.x.at(value)
            frame.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}"/>')
            frame.append(f'<text class="tick middle" x="{at:.1f}" y="{bottom + 16}">{_number(value)}</text>')
        words = f'<text class="label" x="{LEFT}" y="{TOP - 9}">{escape(self.label)}</text>'
        words += f'<text class="tick end" x="{right}" y="{self.height - 4}">{escape(x_label)}</text>'
        size = f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.label)}"'
        return f"<svg {size}>{''.join(frame)}{''.join(self.parts)}{words}</svg>"

    def _points(self, points: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{self.x.at(a):.1f},{self.y.at(b):.1f}" for a, b in points)


def _finite_pieces(x: Values, y: Values) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y, strict=True):
        if math.isfinite(b):
            pieces[-1].append((float(a), float(b)))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.6g}"


def falls_far(values: np.ndarray) -> bool:
    """Whether values are positive and span so much that a logarithmic axis shows them better."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and (finite > 0).all() and finite.max() > 30 * finite.min())


def thinned(values: np.ndarray, most: int) -> tuple[np.ndarray, Callable[[int], int]]:
    """At most about `most` of the values (..., n), evenly spaced, and the original index of each."""
    stride = max(1, -(-values.shape[-1] // most))
    return values[..., ::stride], lambda index: index * stride
