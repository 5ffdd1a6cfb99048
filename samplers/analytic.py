"""An analytic potential around its centre: K and its derivatives for a cloud of points, safe in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from samplers.arguments import positive
from samplers.errors import InputError
from samplers.group_noise import Draws
from samplers.resolution import evaluation_noise, granularity

MAX_HESSIAN_DIMENSION = 32  # beyond it second derivatives cost more than the moves they improve
_TRIALS = 256  # points at which a new function is tried
_FEW = 512  # points, at most, from which rounding in its evaluation is known
_GRAPH = 8e6  # bytes of a graph of second derivatives that stay in a processor's cache: d passes go through it
_ROWS = 256, 2048  # points per block of second and third derivatives, at least and at most
_DIFFERENCE = 1e-4  # of a draw of the localizer: step over which gradients are compared with Hessians,
_DISAGREE = 0.1  # and the relative difference at which they do not agree
_CENTER = 1e-9  # |K(center)| above this, relative to K's size under the localizer, is no accident of rounding
_NEGATIVE = 1e-12  # K below minus this, likewise,
_DEVIATIONS = 10.0  # unless it is so many standard deviations of the rounding in its evaluation,
_AROUND_ZERO = 4.0  # found where K changes by less than so many times itself
_BEYOND = 25.0  # nats: all but e^-25 of the localizer is within reach


class LocalPotential:
    """K(center + u) for points u (N, d) in float64, with the localizer N(0, I/γ) over u.

    `function` maps points (..., d) to K (...,), differentiable by autograd, K >= 0 and K(center) = 0. Where K or a
    derivative overflows or is not a number, K is reported as infinite and the derivatives as zero; K negative by
    rounding is reported as zero, K negative beyond the localizer's reach as infinite, and `floor` is the largest K
    found where zero should be. `smooth` says whether second and third derivatives can be had.

    Raises InputError where the function cannot be used, at any later call too.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], center: Tensor, gamma: float):
        gamma = positive(gamma, "gamma, the localizer's inverse variance,")
        try:
            center = torch.as_tensor(center, dtype=torch.float64).detach().cpu().clone()
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"center must be a vector (d,) of finite numbers, got {type(center).__name__}") from None
        if center.ndim != 1 or len(center) == 0 or not bool(center.isfinite().all()):
            raise InputError(f"center must be a vector (d,) of finite numbers, got shape {tuple(center.shape)}")
        self.function, self.center, self.gamma = _guarded(function), center, gamma
        self.dimension = len(center)
        # of γ|u|², by the tail bound of Laurent & Massart 2000 for χ²
        self._reach = self.dimension + 2 * sqrt(self.dimension * _BEYOND) + 2 * _BEYOND
        self.floor, self._negative = self._tolerances()
        self.value(self.draw(Draws(0, range(1), _TRIALS)))  # refuses a negative K before anything is run
        self.smooth = self.dimension <= MAX_HESSIAN_DIMENSION and self._twice_differentiable()
        self._rows = self._block_size() if self.smooth else _ROWS[1]

    def draw(self, draws: Draws) -> Tensor:
        """Exact draws u of the localizer, (N, d)."""
        return draws.normal(self.dimension) / sqrt(self.gamma)

    def value(self, u: Tensor) -> Tensor:
        """K at each row, (N,)."""
        with torch.no_grad():
            return self._finite(u, self.function(self.center + u))

    @torch.enable_grad()
    def value_and_grad(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """K (N,) and ∇K (N, d)."""
        point = (self.center + u).requires_grad_()
        value = self.function(point)
        gradient = _grad(value.sum(), point).detach()
        sound = value.detach().isfinite() & gradient.isfinite().all(-1)
        return torch.where(sound, self._finite(u, value.detach()), torch.inf), torch.where(
            sound[:, None], gradient, 0.0
        )

    def value_grad_hessian(self, u: Tensor, block: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        """K (N,), ∇K (N, d) and the Hessian (N, d, d), of which `block` selects rows and columns."""
        parts = [self._second_order(rows, block) for rows in u.split(self._rows)]
        value, gradient, hessian = (torch.cat(part) for part in zip(*parts, strict=True))
        return value, gradient, hessian

    def third_derivatives(self, u: Tensor, first: Tensor, *seconds: Tensor) -> tuple[Tensor, ...]:
        """∇(v_aᵀ H w_a) at each row, (N, a, d), for each of `seconds`.

        v_a and w_a are the columns of `first` and of one of `seconds`, stacks of matrices (N, d, d).
        """
        parts = zip(*(stack.split(self._rows) for stack in (u, first, *seconds)), strict=True)
        return tuple(torch.cat(part) for part in zip(*(self._third_order(*block) for block in parts), strict=True))

    def rounding(self, u: Tensor, draws: Draws) -> tuple[Tensor, float]:
        """How finely K is resolved: by the spacing of points, at each row (N,), and by rounding in its evaluation.

        See `granularity` and `evaluation_noise`; directions are random.
        """
        point, up = self.center + u, draws.uniform(self.dimension) < 0.5
        few = slice(None, None, -(-len(u) // _FEW))
        noise = evaluation_noise(self.function, point[few], torch.where(up, u, -u)[few])
        return granularity(self.function, point, up), noise

    def scaled_rounding(self, u: Tensor, draws: Draws, scale: float) -> tuple[float, float]:
        """The error of scale·K at the rows by the last digits of w and of K and by the floor; and that by K's alone."""
        spacing, noise = self.rounding(u, draws)
        by_points = float((scale * spacing).nan_to_num(nan=1.0).clamp(max=1.0).mean())
        return max(by_points, scale * noise) + scale * self.floor, scale * noise

    def _finite(self, u: Tensor, value: Tensor) -> Tensor:
        # Moves are proposed to where the localizer has no mass, too: there K < 0 is no reason to refuse.
        value = torch.where((value < 0) & (self.gamma * u.square().sum(-1) > self._reach), torch.inf, value)
        lowest = float(value.amin())
        if lowest < -self._negative:
            self._negative = max(self._negative, self._rounding_below_zero(u[value.argmin()]))
        if lowest < -self._negative:
            raise InputError(
                f"the potential must be >= 0: it is {lowest:.4g} at a point near the centre; "
                "where the centre is a minimum of its surroundings only, a larger gamma keeps to them"
            )
        self.floor = max(self.floor, -lowest)
        return torch.nan_to_num(value.double(), nan=torch.inf, posinf=torch.inf).clamp(min=0.0)

    @torch.enable_grad()
    def _second_order(self, u: Tensor, block: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        point = (self.center + u).requires_grad_()
        value = self.function(point)
        gradient = _grad(value.sum(), point, create_graph=True)
        chosen = gradient[:, block].unbind(-1)
        rows = [_grad(part.sum(), point, retain_graph=True)[:, block] for part in chosen]
        hessian = torch.stack(rows, -1)
        value, gradient, hessian = value.detach(), gradient.detach(), 0.5 * (hessian + hessian.mT)
        sound = value.isfinite() & gradient.isfinite().all(-1) & hessian.isfinite().all(-1).all(-1)
        return (
            torch.where(sound, self._finite(u, value), torch.inf),
            torch.where(sound[:, None], gradient, 0.0),
            torch.where(sound[:, None, None], hessian, 0.0),
        )

    @torch.enable_grad()
    def _third_order(self, u: Tensor, first: Tensor, *seconds: Tensor) -> tuple[Tensor, ...]:
        point = (self.center + u).requires_grad_()
        gradient = _grad(self.function(point).sum(), point, create_graph=True)
        rows: list[list[Tensor]] = [[] for _ in seconds]
        for v, *others in zip(first.unbind(-1), *(second.unbind(-1) for second in seconds), strict=True):
            product = _grad((gradient * v).sum(), point, create_graph=True)
            for row, w in zip(rows, others, strict=True):
                row.append(_grad((product * w).sum(), point, retain_graph=True))
        return tuple(_zeroed(torch.stack(row, 1)) for row in rows)

    def _rounding_below_zero(self, u: Tensor) -> float:
        """How far below zero rounding may take K near a point (d,) where it is negative."""
        directions = u * Draws(0, range(1), _TRIALS).normal(self.dimension)
        points = (self.center + u).expand(_TRIALS, -1)
        return _DEVIATIONS * evaluation_noise(self.function, points, directions, change=_AROUND_ZERO)

    @torch.enable_grad()
    def _tolerances(self) -> tuple[float, float]:
        """|K(center)|, and how far below zero K may be, after making sure that it is one to use."""
        u = self.draw(Draws(0, range(1), _TRIALS))
        u[0] = 0.0
        point = (self.center + u).requires_grad_()
        value = self.function(point)
        if not isinstance(value, Tensor) or value.shape != (_TRIALS,):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"the potential must map points (N, d) to K (N,): for N = {_TRIALS} it returned {got}")
        if not value.requires_grad:
            raise InputError("the potential is not differentiable: compute K from its argument by torch operations")
        at_center, rest = float(value[0].detach()), value[1:].detach().double()
        rest = rest[rest.isfinite()]
        if not len(rest) or at_center != at_center:
            raise InputError("the potential is not finite around the centre: check it, or use a larger gamma")
        size = float(rest.abs().median())
        if abs(at_center) > _CENTER * size:
            raise InputError(f"the potential must be zero at the centre: K(center) = {at_center:.4g}")
        try:
            _grad(value.sum(), point)
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"the potential is not differentiable: {said}") from error
        return abs(at_center), _NEGATIVE * size

    def _twice_differentiable(self) -> bool:
        u = self.draw(Draws(0, range(1), 2))
        try:
            self._second_order(u)
            vectors = torch.eye(self.dimension, dtype=torch.float64).expand(2, -1, -1)
            self._third_order(u, vectors, vectors)
        except (RuntimeError, NotImplementedError):
            return False
        return self._second_derivatives_agree()

    def _second_derivatives_agree(self) -> bool:
        """Whether Hessians are what gradients change by: a derivative written by hand may have none, and say zero."""
        draws = Draws(0, range(1), _TRIALS)
        u = self.draw(draws)
        step = _DIFFERENCE * self.draw(draws)
        forward, backward = self.value_and_grad(u + step)[1], self.value_and_grad(u - step)[1]
        found, expected = 2 * (self._second_order(u)[2] @ step[..., None])[..., 0], forward - backward
        size = found.norm(dim=-1) + expected.norm(dim=-1)
        wrong = (found - expected).norm(dim=-1) > _DISAGREE * size + _DIFFERENCE**2 * forward.norm(dim=-1)
        return float(wrong.double().mean()) < 0.5

    def _block_size(self) -> int:
        """Points whose second derivatives are taken at once, from what autograd keeps for each."""
        try:
            one, all_ = (self._graph_size(self.draw(Draws(0, range(1), n))) for n in (1, _TRIALS))
        except (InputError, RuntimeError):  # functions that cannot be looked into by hooks, as those of torch.func
            return _ROWS[1]
        return int(min(max(_GRAPH * (_TRIALS - 1) / max(all_ - one, 1), _ROWS[0]), _ROWS[1]))

    def _graph_size(self, u: Tensor) -> int:
        """Bytes that autograd keeps for second derivatives at u."""
        kept: dict[int, int] = {}

        def measured(tensor: Tensor) -> Tensor:
            if tensor.layout == torch.strided:
                storage = tensor.untyped_storage()
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(measured, lambda tensor: tensor):
            self._second_order(u, slice(0, 1))
        return sum(kept.values())


def _guarded(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function, whatever it raises said in one line."""

    def call(points: Tensor) -> Tensor:
        try:
            return function(points)
        except Exception as error:
            said = (str(error).strip() or "no message").splitlines()[0]
            raise InputError(
                f"the potential raised {type(error).__name__} on points {tuple(points.shape)}: {said}"
            ) from error

    return call


def _grad(value: Tensor, point: Tensor, *, create_graph: bool = False, retain_graph: bool = False) -> Tensor:
    """Gradient, zero where the value does not depend on the point (a constant Hessian, say)."""
    if not value.requires_grad:
        return torch.zeros_like(point)
    keep = create_graph or retain_graph
    (gradient,) = torch.autograd.grad(value, point, allow_unused=True, create_graph=create_graph, retain_graph=keep)
    return torch.zeros_like(point) if gradient is None else gradient


@dataclass(frozen=True)
class Tempered:
    """The density ∝ exp(-t K - γ/2 |u|²)."""

    t: float
    gamma: float

    def log_density(self, u: Tensor, value: Tensor) -> Tensor:
        """Log of the density up to a constant, (N,)."""
        return -self.t * value - 0.5 * self.gamma * u.square().sum(-1)


@dataclass(frozen=True)
class Below:
    """The localizer restricted to {K < ceiling}; moves are steered by the tempered density at `t`."""

    ceiling: float
    t: float
    gamma: float

    def log_density(self, u: Tensor, value: Tensor) -> Tensor:
        """Log of the density up to a constant, (N,)."""
        return torch.where(value < self.ceiling, -0.5 * self.gamma * u.square().sum(-1), -torch.inf)


Density = Tempered | Below


def _zeroed(derivatives: Tensor) -> Tensor:
    """Zero where a derivative is not finite."""
    return torch.nan_to_num(derivatives, nan=0.0, posinf=0.0, neginf=0.0)
