"""Moves of a noisy curve: a piecewise-linear fit whose pieces are taken together where it rises, falls or rests."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from slt.transitions.piecewise import fit_knots

RESOLUTION = 0.01  # of the curve's range: how closely straight pieces have to follow a curve that is none
SHOULDER = 2.0  # a piece this many times flatter than those on both sides, of the same sign, is a rest
TAIL = 3.0  # a piece this many times flatter than the steepest, at either end of a move, is a tail: not in it
TAIL_SHARE = 0.2  # of a move's change that a tail may have at most
CREEP = 10.0  # neighbouring pieces whose slopes differ by this factor are two moves
GAUSS_NEWTON = 8  # steps
WORTH_A_TRY = 4.0  # penalties that a level piece may cost at first
NEIGHBOURS = 3  # on either side, whose errors are compared
MIN_GAP = 0.5  # between knots, in mean gaps between points
_MAD_TO_VARIANCE = 0.4549  # median of a squared standard normal


@dataclass(frozen=True)
class Curve:
    """A continuous piecewise-linear fit: its knots (K,), first and last point among them, the values there and their
    covariance (K, K) with the knots where they are, which of its pieces (K - 1,) are level, and the resolution below
    which it is not meant."""

    knots: np.ndarray
    values: np.ndarray
    covariance: np.ndarray
    level: np.ndarray
    resolution: float

    def at(self, x: np.ndarray) -> np.ndarray:
        """The fitted values."""
        return np.interp(x, self.knots, self.values)


@dataclass(frozen=True)
class Move:
    """From `start` to `end` the curve goes up or down by `change` ± `error`; half of it is done at `middle`.

    A jump takes place somewhere in the gap between two points, (`start`, `end`). `turn` is where the curve turns
    back: the middle of the stretch over which it stays at its extremum, to within the resolution; NaN where the next
    move goes the same way, or there is none.
    """

    start: float
    end: float
    middle: float
    change: float
    error: float
    jump: bool
    turn: float = math.nan

    @property
    def direction(self) -> int:
        """+1 or -1."""
        return 1 if self.change > 0 else -1


def penalty(count: int) -> float:
    """What a knot has to gain in Σ (residual/error)² to be worth it among `count` points: 4.5 + 1.3 log(count).

    Measured: straight lines with Gaussian errors, reported to within 15%, get knots in 4% of the series or less,
    for 10 to 160 points.
    """
    return 4.5 + 1.3 * math.log(count)


def working_errors(x: np.ndarray, y: np.ndarray, error: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Errors (n,) to fit with, and the resolution.

    The scatter of the points about the lines through their neighbours (median, so that a few jumps do not count)
    stands in for errors that are not known; where it is well above the errors that are, the quantity itself
    fluctuates from checkpoint to checkpoint, and they are raised to it. An error below the median of its neighbourhood
    is raised to that: from few chains errors are as uncertain as 1/√(2(chains - 1)), and the smallest make moves out of
    nothing. The resolution is added in quadrature.
    """
    resolution = RESOLUTION * float(np.ptp(np.quantile(y, [0.02, 0.98])))
    known = np.ones(len(x)) if error is None else _raised(np.asarray(error, dtype=float))
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    bend = y[1:-1] - (1 - share) * y[:-2] - share * y[2:]
    expected = known[1:-1] ** 2 + ((1 - share) * known[:-2]) ** 2 + (share * known[2:]) ** 2
    excess = float(np.median(bend**2 / expected)) / _MAD_TO_VARIANCE if len(bend) else 0.0
    if error is not None:
        excess = max(1.0, excess / 1.5)  # 1.5: what few points exceed by chance
    return np.sqrt(excess * known**2 + resolution**2), resolution


def _raised(error: np.ndarray) -> np.ndarray:
    """Errors (n,) at least the median of seven, of themselves and those around them; at the ends, on the one side."""
    around = np.pad(error, NEIGHBOURS, mode="reflect")
    return np.maximum(error, np.median(sliding_window_view(around, 2 * NEIGHBOURS + 1), axis=1))


def fit_curve(x: np.ndarray, y: np.ndarray, error: np.ndarray, resolution: float) -> Curve:
    """The penalized piecewise-linear fit: knots first among the x, exactly; then moved between them; then every piece
    level that need not rise, for the same penalty, and the knots moved once more.
    """
    knots = np.concatenate([x[:1], x[fit_knots(x, y, error, penalty(len(x)))], x[-1:]])
    price = penalty(len(x))
    knots = _without_pairs(x, y, error, _between_points(x, y, error, knots, _none_level(knots)), price)
    level = _none_level(knots)
    while True:
        values, cost = _solve(x, y, error, knots, level)
        rise = np.abs(np.diff(values))
        trials = []
        for piece in np.flatnonzero(~level).tolist():
            trial = level.copy()
            trial[piece] = True
            loss = _solve(x, y, error, knots, trial)[1] - cost
            moved = knots
            if price < loss < WORTH_A_TRY * price:  # less with the knots where such a curve would have them
                moved = _between_points(x, y, error, knots, trial)
                loss = _solve(x, y, error, moved, trial)[1] - cost
            trials.append((0.0 if rise[piece] <= 2 * resolution else loss, piece, moved))
        loss, piece, moved = min(trials, key=lambda trial: trial[0], default=(math.inf, -1, knots))
        if loss > price:
            return Curve(knots, values, _covariance(x, error, knots, level), level, resolution)
        level[piece] = True
        knots = _between_points(x, y, error, moved, level)


def find_moves(curve: Curve, x: np.ndarray) -> list[Move]:
    """The moves of a curve fitted at x: runs of pieces that go the same way, between rests, shoulders and turns."""
    rise, width = np.diff(curve.values), np.diff(curve.knots)
    runs = _runs(np.where(curve.level, 0, np.sign(rise)).astype(int), np.abs(rise / width))
    moves = [_move(curve, x, first, last) for first, last in runs]
    return [_with_turn(curve, move, following) for move, following in zip(moves, [*moves, None][1:], strict=True)]


def _runs(direction: np.ndarray, slope: np.ndarray) -> list[tuple[int, int]]:
    """First and last piece of each move."""
    runs: list[tuple[int, int]] = []
    for piece in range(len(direction)):
        if direction[piece] == 0:
            continue
        if runs and runs[-1][1] == piece - 1 and direction[piece - 1] == direction[piece]:
            runs[-1] = runs[-1][0], piece
        else:
            runs.append((piece, piece))
    return [part for run in runs for part in _split(*run, slope)]


def _split(first: int, last: int, slope: np.ndarray) -> list[tuple[int, int]]:
    """A run cut at its flattest shoulder, which is left out, and where it passes from creeping to running."""
    inside = [
        piece
        for piece in range(first + 1, last)
        if SHOULDER * slope[piece] <= min(slope[first:piece].max(), slope[piece + 1 : last + 1].max())
    ]
    if inside:
        flattest = min(inside, key=lambda piece: slope[piece])
        return [*_split(first, flattest - 1, slope), *_split(flattest + 1, last, slope)]
    for piece in range(first, last):
        slower, faster = sorted(slope[piece : piece + 2])
        if CREEP * slower <= faster:
            return [*_split(first, piece, slope), *_split(piece + 1, last, slope)]
    return [(first, last)]


def _move(curve: Curve, x: np.ndarray, first: int, last: int) -> Move:
    values, knots = curve.values[first : last + 2], curve.knots[first : last + 2]
    share = np.diff(values) / (values[-1] - values[0])
    slope = share / np.diff(knots)
    tail = TAIL * slope < slope.max()
    head = int(np.argmax(~tail | (share.cumsum() > TAIL_SHARE)))
    foot = int(np.argmax(~tail[::-1] | (share[::-1].cumsum() > TAIL_SHARE)))
    start, end = knots[head], knots[len(knots) - 1 - foot]
    change = float(values[-1] - values[0])
    ends = np.ix_([first, last + 1], [first, last + 1])
    difference = np.array([-1.0, 1.0])
    error = math.sqrt(max(0.0, difference @ curve.covariance[ends] @ difference))
    middle = np.interp(0.5, (values - values[0]) / change, knots)
    jump = not bool(((x > start + 1e-9) & (x < end - 1e-9)).any())
    if jump:
        start, end = x[x <= start + 1e-9][-1], x[x >= end - 1e-9][0]
        middle = 0.5 * (start + end)
    return Move(float(start), float(end), float(middle), change, error, jump)


def _with_turn(curve: Curve, move: Move, following: Move | None) -> Move:
    if following is None or following.direction == move.direction:
        return move
    along = np.linspace(move.middle, following.middle, 400)
    height = move.direction * curve.at(along)
    near = along[height >= height.max() - 2.5 * curve.resolution]
    return replace(move, turn=float(0.5 * (near[0] + near[-1])))


def _none_level(knots: np.ndarray) -> np.ndarray:
    return np.zeros(len(knots) - 1, dtype=bool)


def _without_pairs(x: np.ndarray, y: np.ndarray, error: np.ndarray, knots: np.ndarray, price: float) -> np.ndarray:
    """Knots side by side that stand for one between the points replaced by it, where the fit is as good with one."""
    for k in reversed(range(1, len(knots) - 2)):
        if ((x > knots[k] + 1e-9) & (x < knots[k + 1] - 1e-9)).any():
            continue
        one = np.concatenate([knots[:k], [0.5 * (knots[k] + knots[k + 1])], knots[k + 2 :]])
        one = _between_points(x, y, error, one, _none_level(one))
        cost = _solve(x, y, error, knots, _none_level(knots))[1]
        if _solve(x, y, error, one, _none_level(one))[1] - cost < price:
            knots = one
    return knots


def _hats(x: np.ndarray, knots: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Basis (n, P) of the piecewise-linear curves whose `level` pieces are level; and each knot's place among them."""
    own = np.concatenate([[0], np.cumsum(~level)])
    hats = np.stack([np.interp(x, knots, row) for row in np.eye(own[-1] + 1)[:, own]], axis=1)
    return hats, own


def _solve(
    x: np.ndarray, y: np.ndarray, error: np.ndarray, knots: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, float]:
    """Values at the knots by weighted least squares, and Σ (residual/error)²."""
    hats, own = _hats(x, knots, level)
    hats, target = hats / error[:, None], y / error
    values = np.linalg.lstsq(hats, target, rcond=None)[0]
    return values[own], float(np.square(target - hats @ values).sum())


def _covariance(x: np.ndarray, error: np.ndarray, knots: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Of the values at the knots (K, K)."""
    hats, own = _hats(x, knots, level)
    hats = hats / error[:, None]
    return np.linalg.pinv(hats.T @ hats)[np.ix_(own, own)]


def _between_points(
    x: np.ndarray, y: np.ndarray, error: np.ndarray, knots: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """Knots moved off the points, by damped Gauss-Newton steps in their places (Muggeo 2003).

    Knots at neighbouring points stay: what lies between them is a jump, and its place in the gap is not in the data.
    """
    apart = np.array([bool(((x > a + 1e-9) & (x < b - 1e-9)).any()) for a, b in pairwise(knots)])
    free = [k for k in range(1, len(knots) - 1) if apart[k - 1] and apart[k]]
    if not free:
        return knots
    values, best = _solve(x, y, error, knots, level)
    for _ in range(GAUSS_NEWTON):
        bend = np.diff(np.diff(values) / np.diff(knots))
        hats, _ = _hats(x, knots, level)
        moved = np.stack([-bend[k - 1] * (x > knots[k]) for k in free], axis=1)
        step = np.linalg.lstsq(np.concatenate([hats, moved], axis=1) / error[:, None], y / error, rcond=None)[0]
        for damping in (1.0, 0.5, 0.25, 0.1):
            proposal = knots.copy()
            proposal[free] += damping * step[hats.shape[1] :]
            if not (np.diff(proposal) > MIN_GAP * (x[-1] - x[0]) / len(x)).all():
                continue
            there, cost = _solve(x, y, error, proposal, level)
            if cost < best - 1e-3:
                knots, values, best = proposal, there, cost
                break
        else:
            break
    return knots
