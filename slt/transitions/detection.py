"""Transitions of a training run: where the learning coefficient moves, how surely, and what the loss does then."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from samplers.errors import InputError
from slt.llc.estimate import finite
from slt.trajectory import Trajectory
from slt.transitions.moves import Curve, Move, find_moves, fit_curve, working_errors

Direction = Literal["up", "down"]
LEAST = 5  # checkpoints below which no curve can be told from its noise
LEVEL = 0.9  # of the intervals
LOSS_CHANGE = 0.02  # of the loss's range, below which it is flat

Interval = tuple[float, float]


@dataclass(frozen=True)
class Transition:
    """λ̂ goes up or down by `change` between the training steps `start` and `end`; half of it is done at `middle`.

    `change_error`: the standard error of the change, from the errors of λ̂, the knots of the fit being where they are.
    `jump`: the change falls between two neighbouring checkpoints, and no more is known of its place. `turn`: the step
    at which λ̂ turns back after it, the middle of the stretch where it stays at its extremum; None where it does not.
    Intervals are 90% intervals of the bootstrap, `confidence` the share of its replicates that show this transition
    again. `loss`: what the loss does meanwhile, by `loss_change` nats. `lead`: by how many steps half of λ̂'s change
    is done before half of the loss's nearest change is; negative where the loss moves first, None where no move of the
    loss overlaps this one.
    """

    direction: Direction
    start: float
    end: float
    middle: float
    change: float
    jump: bool
    confidence: float
    start_interval: Interval
    end_interval: Interval
    middle_interval: Interval
    change_error: float = math.nan
    turn: float | None = None
    turn_interval: Interval | None = None
    loss: Literal["up", "down", "flat", "unknown"] = "unknown"
    loss_change: float | None = None
    lead: float | None = None
    lead_interval: Interval | None = None

    @property
    def kind(self) -> str:
        """In words: 'opposing staircases' where λ̂ goes up while the loss goes down (Chen et al. 2023)."""
        named = {
            ("up", "down"): "opposing staircases",
            ("down", "down"): "simplification with falling loss",
            ("down", "flat"): "simplification at constant loss",
            ("up", "flat"): "growth at constant loss",
        }
        plain = f"llc {self.direction}, loss {self.loss}"
        name = named.get((self.direction, self.loss))
        return f"{name} ({plain})" if name else plain

    def __str__(self) -> str:
        low, high = self.middle_interval
        where = f"step {self.start:.0f} to {self.end:.0f} (middle {self.middle:.0f}, 90%: {low:.0f} to {high:.0f})"
        change = f"llc {self.change:+.3g} ± {self.change_error:.2g}"
        words = f"{self.kind}: {change} from {where}, confidence {self.confidence:.2f}"
        if self.lead is None or self.lead_interval is None:
            return words
        low, high = self.lead_interval
        return f"{words}; llc before loss by {self.lead:.0f} steps (90%: {low:.0f} to {high:.0f})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {"kind": self.kind, **{name: finite(value) for name, value in values.items()}}


def find_transitions(trajectory: Trajectory, *, replicates: int = 100, seed: int = 0) -> list[Transition]:
    """Where λ̂ moves: the moves of a penalized continuous piecewise-linear fit in log step, with known errors.

    The fit minimizes Σ ((λ̂ - f)/error)² plus a penalty for each knot, exactly (`slt.transitions.piecewise.fit_knots`),
    with a penalty at which a series without change shows one in 4 cases of 100. Errors are the Monte Carlo ones, raised
    where the scatter from checkpoint to checkpoint is well above them, and to 1% of λ̂'s range. Pieces that go the same
    way are one transition, unless a shoulder or an abrupt change of speed lies between them.

    The bootstrap adds to the fit the noise of resampled chains, the same chains at every checkpoint (errors drawn from
    their normal distribution where the trajectory has no `chain_llc`), and finds everything again. The loss, known
    without Monte Carlo error, is fitted in the same way; its noise is estimated from its scatter.

    Checkpoints without a usable number are left out. Raises InputError where fewer than 5 remain.
    """
    use = trajectory.usable
    if use.sum() < LEAST:
        raise InputError(f"transitions need at least {LEAST} checkpoints with a usable number, got {int(use.sum())}")
    steps = trajectory.step[use].astype(float)
    offset = _offset(steps)
    x, llc = np.log(steps + offset), trajectory.llc[use]
    reported = trajectory.std_error[use]
    known = reported if (np.isfinite(reported) & (reported > 0)).all() else None
    error, resolution = working_errors(x, llc, known)
    if not error.any():
        return []
    curve = fit_curve(x, llc, error, resolution)
    moves = find_moves(curve, x)
    if not moves:
        return []
    rng = np.random.default_rng(seed)
    chains = None if trajectory.chain_llc is None or known is None else trajectory.chain_llc[:, use]
    again = [
        _placed(find_moves(fit_curve(x, curve.at(x) + noise, error, resolution), x), share)
        for noise, share in zip(_noise(chains, error, known, replicates, rng), _shares(replicates, rng), strict=True)
    ]
    loss = _Loss.of(x, trajectory.loss[use], replicates, rng)
    return [_transition(move, moves, again, loss, x, offset) for move in moves]


@dataclass(frozen=True)
class _Loss:
    """The loss's fit, its moves, and those of each replicate."""

    curve: Curve
    moves: list[Move]
    again: list[list[Move]]

    @classmethod
    def of(cls, x: np.ndarray, loss: np.ndarray, replicates: int, rng: np.random.Generator) -> "_Loss | None":
        if not np.isfinite(loss).all():
            return None
        error, resolution = working_errors(x, loss, None)
        if not error.any():
            return cls(
                Curve(x[[0, -1]], loss[[0, -1]], np.zeros((2, 2)), np.ones(1, dtype=bool), 0.0), [], [[]] * replicates
            )
        curve = fit_curve(x, loss, error, resolution)
        moves = find_moves(curve, x)
        noise = rng.standard_normal((replicates, len(x))) * np.sqrt(np.maximum(error**2 - resolution**2, 0))
        again = [
            _placed(find_moves(fit_curve(x, curve.at(x) + e, error, resolution), x), share) if moves else []
            for e, share in zip(noise, _shares(replicates, rng), strict=True)
        ]
        return cls(curve, moves, again)


def _offset(steps: np.ndarray) -> float:
    """What is added to the steps before the logarithm: the first step above 0 if there is a step 0, else nothing."""
    positive = steps[steps > 0]
    return float(positive[0]) if steps[0] <= 0 and len(positive) else 0.0


def _noise(
    chains: np.ndarray | None, error: np.ndarray, known: np.ndarray | None, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Noise of the series (T,), `count` times."""
    if chains is None or known is None or len(chains) < 4 or not np.isfinite(chains).all():
        yield from rng.standard_normal((count, len(error))) * error
        return
    centered = (chains - chains.mean(0)) * math.sqrt(len(chains) / (len(chains) - 1))
    rest = np.sqrt(np.maximum(error**2 - (centered.std(0) / math.sqrt(len(chains))) ** 2, 0))
    for _ in range(count):
        chosen = rng.integers(len(chains), size=len(chains))
        yield centered[chosen].mean(0) + rest * rng.standard_normal(len(error))


def _shares(count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` numbers evenly spread over (0, 1), in random order."""
    return (rng.permutation(count) + 0.5) / count


def _placed(moves: list[Move], share: float) -> list[Move]:
    """Moves with jumps put a share of the way through their gaps."""
    placed = []
    for move in moves:
        if move.jump:
            at = move.start + share * (move.end - move.start)
            move = replace(move, start=at, end=at, middle=at)
        placed.append(move)
    return placed


def _match(move: Move, others: list[Move], slack: float) -> Move | None:
    """The move in the same direction that overlaps this one, to within `slack`, and whose middle is nearest."""
    near = [
        other
        for other in others
        if other.direction == move.direction and other.start <= move.end + slack and other.end >= move.start - slack
    ]
    return min(near, key=lambda other: abs(other.middle - move.middle), default=None)


def _transition(
    move: Move, moves: list[Move], again: list[list[Move]], loss: _Loss | None, x: np.ndarray, offset: float
) -> Transition:
    slack = float(np.median(np.diff(x)))
    found = [_match(move, others, slack) for others in again]
    same = [other for other in found if other is not None]

    def step(at: float) -> float:
        return max(0.0, math.exp(at) - offset)

    def interval(values: list[float], estimate: float) -> Interval:
        values = [value for value in values if math.isfinite(value)] or [estimate]
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="weibull")
        return step(min(low, estimate)), step(max(high, estimate))

    turns = math.isfinite(move.turn)
    direction, change, lead, lead_interval = _beside(move, moves, found, loss, slack, step)
    return Transition(
        direction="up" if move.direction > 0 else "down",
        start=step(move.start),
        end=step(move.end),
        middle=step(move.middle),
        change=move.change,
        change_error=move.error,
        jump=move.jump,
        confidence=len(same) / len(again),
        start_interval=interval(
            [other.start for other in same], 0.5 * (move.start + move.end) if move.jump else move.start
        ),
        end_interval=interval([other.end for other in same], 0.5 * (move.start + move.end) if move.jump else move.end),
        middle_interval=interval([other.middle for other in same], move.middle),
        turn=step(move.turn) if turns else None,
        turn_interval=interval([other.turn for other in same], move.turn) if turns else None,
        loss=direction,
        loss_change=change,
        lead=lead,
        lead_interval=lead_interval,
    )


def _beside(
    move: Move,
    moves: list[Move],
    found: list[Move | None],
    loss: _Loss | None,
    slack: float,
    step: Callable[[float], float],
) -> tuple[Literal["up", "down", "flat", "unknown"], float | None, float | None, Interval | None]:
    """What the loss does during a move of λ̂; and by how many steps λ̂ leads the loss's move, if it has one of its own.

    One of its own: the move of the loss that overlaps this one, none of λ̂'s other moves being nearer to it.
    """
    if loss is None:
        return "unknown", None, None, None
    before, after = loss.curve.at(np.array([move.start - slack, move.end + slack]))
    change, span = float(after - before), float(np.ptp(loss.curve.values))
    if abs(change) <= max(LOSS_CHANGE * span, 2 * loss.curve.resolution):
        return "flat", change, None, None
    sign: Literal["up", "down"] = "up" if change > 0 else "down"
    wanted = replace(move, change=change)
    beside = _match(wanted, loss.moves, slack)
    if beside is None or min(moves, key=lambda other: abs(other.middle - beside.middle)) is not move:
        return sign, change, None, None
    leads = []
    for other, others in zip(found, loss.again, strict=True):
        partner = _match(beside, others, slack)
        if other is not None and partner is not None:
            leads.append(step(partner.middle) - step(other.middle))
    lead = step(beside.middle) - step(move.middle)
    low, high = np.quantile(leads or [lead], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="weibull")
    return sign, change, lead, (float(min(low, lead)), float(max(high, lead)))
