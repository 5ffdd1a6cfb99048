"""Constraints: which weights the chains may reach, and so which restricted posterior they sample."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from samplers.errors import InputError
from samplers.gradient import AtCenters
from samplers.parameters import ParameterLayout
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Fixed, Metric

MAX_BOUNCES = 50  # off the sphere in one step; a step so long is refused


class Travelled(NamedTuple):
    """Where a straight path has led. Chains for which `arrived` is False were turned back to where they started."""

    position: Tensor  # (C, d)
    velocity: Tensor  # (C, d), in preconditioned coordinates
    arrived: Tensor | None  # (C,) bool; None: all


class Constraint(Protocol):
    """A set of weights around w*. Kernels move only by `travel`, with a metric from `restrict`."""

    def dimension(self, posterior: LocalPosterior) -> int | Tensor:
        """Number of directions in which a chain can move, () or (C,)."""
        ...

    def project(self, posterior: LocalPosterior, x: Tensor) -> Tensor:
        """The part of displacements or velocities x (C, d) in which a chain can move."""
        ...

    def restrict(self, posterior: LocalPosterior, metric: Metric) -> Metric:
        """The metric whose root leads nowhere else."""
        ...

    def place(self, posterior: LocalPosterior, w: Tensor) -> Tensor:
        """Starting points (C, d) in the set, from any w (C, d)."""
        ...

    def travel(
        self, posterior: LocalPosterior, metric: Metric, w: Tensor, velocity: Tensor, time: float | Tensor
    ) -> Travelled:
        """From w for `time`, a number or (C, 1), at R · velocity."""
        ...

    def move(self, posterior: LocalPosterior, metric: Metric, w: Tensor, step: Tensor) -> Tensor:
        """The position after travelling for a time 1 at R · step, which may be overwritten."""
        ...


class Projected(Fixed):
    """The metric R' = P R P of a linear subspace with projection P: it leads nowhere else, and everywhere in it."""

    def __init__(self, metric: Metric, constraint: Constraint, posterior: LocalPosterior):
        self.metric, self.constraint, self.posterior = metric, constraint, posterior

    def root(self, x: Tensor) -> Tensor:
        """P R P x."""
        return self._project(self.metric.root(self._project(x)))

    def root_transpose(self, x: Tensor) -> Tensor:
        """P Rᵀ P x."""
        return self._project(self.metric.root_transpose(self._project(x)))

    def _project(self, x: Tensor) -> Tensor:
        return self.constraint.project(self.posterior, x)


class Free:
    """No constraint: the whole posterior. The base of the linear ones, which give `project` and `dimension`."""

    def dimension(self, posterior: LocalPosterior) -> int | Tensor:
        """All d."""
        return posterior.dimension

    def project(self, posterior: LocalPosterior, x: Tensor) -> Tensor:
        """X itself."""
        return x

    def restrict(self, posterior: LocalPosterior, metric: Metric) -> Metric:
        """The metric itself."""
        return metric

    def place(self, posterior: LocalPosterior, w: Tensor) -> Tensor:
        """W itself."""
        return w

    def travel(
        self, posterior: LocalPosterior, metric: Metric, w: Tensor, velocity: Tensor, time: float | Tensor
    ) -> Travelled:
        """W + time · R velocity."""
        path = metric.root(velocity)
        where = torch.addcmul(w, path, time) if isinstance(time, Tensor) else torch.add(w, path, alpha=time)
        return Travelled(where, velocity, None)

    def move(self, posterior: LocalPosterior, metric: Metric, w: Tensor, step: Tensor) -> Tensor:
        """W + R step."""
        return metric.root(step).add_(w)


class Subspace(Free):
    """p(w) restricted to w - w* = P (w - w*): the same density on fewer coordinates, the others held at w*."""

    def restrict(self, posterior: LocalPosterior, metric: Metric) -> Metric:
        """P R P."""
        return Projected(metric, self, posterior)

    def place(self, posterior: LocalPosterior, w: Tensor) -> Tensor:
        """w* + P (w - w*): an exact draw of the restricted localizing Gaussian, if w is one of the whole."""
        return posterior.center_of(len(w)) + self.project(posterior, posterior.displacement(w))


class Mask(Subspace):
    """Only the coordinates where `keep` is True move: weight-refined sampling (Wang et al. 2024).

    Samples p(w_A | w_B = w*_B), A the kept coordinates. `keep` is a boolean (d,), or (C, d) with a row per chain.
    """

    def __init__(self, keep: Tensor):
        if keep.dtype != torch.bool:
            raise InputError(f"a mask must be boolean, got {keep.dtype}")
        if not bool(keep.any(-1).all()):
            raise InputError("the mask keeps no weight: nothing would be sampled")
        self.keep = keep

    def dimension(self, posterior: LocalPosterior) -> int | Tensor:
        """How many coordinates are kept."""
        return self.keep.sum(-1)

    def project(self, posterior: LocalPosterior, x: Tensor) -> Tensor:
        """X with zeros where nothing moves."""
        if self.keep.shape[-1] != posterior.dimension:
            raise InputError(f"the mask has {self.keep.shape[-1]} entries, the model {posterior.dimension} weights")
        return x * self.keep


class GradientHyperplane(Subspace):
    """p(w) restricted to ĝ·(w - w*) = 0, ĝ the direction of the full-data gradient of L at w*.

    For a w* that is not a minimum: along ĝ the loss falls, so that chains would leave w* and λ̂ turn negative; normal
    to it the restricted loss has vanishing slope at w*. Within a mask, ĝ is the direction of the kept part of the
    gradient. ĝ is computed once for each centre; `refresh()` forgets it, for when data or weights have changed. Where
    the gradient is exactly zero there is no such hyperplane: an InputError, or no constraint if `flat_is_free`.
    """

    def __init__(self, mask: Mask | None = None, *, flat_is_free: bool = False):
        if mask is not None and mask.keep.ndim > 1:
            raise InputError("the mask of a hyperplane must be one for all chains, shape (d,)")
        self.mask, self.flat_is_free = mask, flat_is_free
        self.refresh()

    def refresh(self) -> None:
        """Compute ĝ anew when it is next needed."""
        self._normal = AtCenters(self._direction)

    def _direction(self, posterior: LocalPosterior) -> Tensor:
        gradient = posterior.loss.value_and_grad(posterior.centers)[1]
        if self.mask is not None:
            gradient = self.mask.project(posterior, gradient)
        length = gradient.norm(dim=-1, keepdim=True)
        usable = length.isfinite() & ((length > 0) | self.flat_is_free)
        if not bool(usable.all()):
            raise InputError("the gradient at w* is zero or not finite: there is no hyperplane normal to it")
        return gradient / length.masked_fill(length == 0, 1.0)

    def dimension(self, posterior: LocalPosterior) -> int | Tensor:
        """One less than without it."""
        return (posterior.dimension if self.mask is None else self.mask.dimension(posterior)) - 1

    def project(self, posterior: LocalPosterior, x: Tensor) -> Tensor:
        """X - ĝ (ĝ·x), within the mask."""
        if self.mask is not None:
            x = self.mask.project(posterior, x)
        normal = posterior.per_chain_center(self._normal(posterior), len(x))
        return x - (x * normal).sum(-1, keepdim=True) * normal


class TrustRegion:
    """p(w) restricted to the ball |w - w*| ≤ radius, within a linear constraint if there is one.

    Paths are reflected at the sphere: in the coordinates in which the metric is 1 the velocity keeps its length and
    turns over at the tangent plane, v ← v - 2 q (q·v)/(q·q) with q = Rᵀ(w - w*). That keeps volume and is its own
    inverse, so that Hamiltonian trajectories stay exact (Afshar & Domke 2015) and Langevin steps tend, as ε → 0, to
    the reflected diffusion, whose law is p on the ball (Bossy, Gobet & Talay 2004); nothing piles up at the sphere.
    """

    def __init__(self, radius: float, within: Free | None = None):
        if not radius > 0:
            raise InputError(f"the radius of a trust region must be positive, got {radius}")
        self.radius, self.within = float(radius), within or Free()

    def dimension(self, posterior: LocalPosterior) -> int | Tensor:
        """That of the constraint within."""
        return self.within.dimension(posterior)

    def project(self, posterior: LocalPosterior, x: Tensor) -> Tensor:
        """The projection of the constraint within."""
        return self.within.project(posterior, x)

    def restrict(self, posterior: LocalPosterior, metric: Metric) -> Metric:
        """The metric of the constraint within."""
        return self.within.restrict(posterior, metric)

    def place(self, posterior: LocalPosterior, w: Tensor) -> Tensor:
        """Points outside are mirrored into the ball along their ray, r → radius²/r."""
        x = posterior.displacement(self.within.place(posterior, w))
        ratio = self.radius / x.norm(dim=-1, keepdim=True).clamp(min=self.radius)
        return posterior.center_of(len(w)) + ratio.square() * x

    def travel(
        self, posterior: LocalPosterior, metric: Metric, w: Tensor, velocity: Tensor, time: float | Tensor
    ) -> Travelled:
        """A straight path, reflected at the sphere as often as it meets it."""
        center = posterior.center_of(len(w))
        x, v = w - center, velocity
        left = torch.ones_like(w[:, :1])  # share of the time still to go
        path = time * metric.root(v)
        for _ in range(MAX_BOUNCES):
            outside = (x + left * path).square().sum(-1, keepdim=True) > self.radius**2
            if not bool(outside.any()):
                break
            a, b = path.square().sum(-1, keepdim=True), (x * path).sum(-1, keepdim=True)
            c = (x.square().sum(-1, keepdim=True) - self.radius**2).clamp(max=0)
            hit = ((b.square() - a * c).clamp(min=0).sqrt() - b) / a
            hit = torch.where(outside, torch.minimum(hit.clamp(min=0), left), 0.0)
            x, left = torch.where(outside, x + hit * path, x), left - hit
            normal = metric.root_transpose(x)
            share = (v * normal).sum(-1, keepdim=True) / normal.square().sum(-1, keepdim=True)
            v = torch.where(outside, v - 2 * share * normal, v)
            path = torch.where(outside, time * metric.root(v), path)
        x = x + left * path
        # Not (x <= radius): a chain that is no longer finite goes on as NaN, for the run to report.
        lost = x.square().sum(-1, keepdim=True) > self.radius**2 * (1 + 1e-5)
        position = torch.where(lost, w, center + x)
        return Travelled(position, torch.where(lost, -velocity, v), ~lost[:, 0])

    def move(self, posterior: LocalPosterior, metric: Metric, w: Tensor, step: Tensor) -> Tensor:
        """The same path, walked for a time 1."""
        return self.travel(posterior, metric, w, step, 1.0).position


def mask_for(layout: ParameterLayout, patterns: str | Sequence[str]) -> Tensor:
    """Boolean (d,): the weights of the parameters whose names match any of the patterns ('layers.0.*').

    Shell patterns: * any characters, ? one, [abc] one of several. Raises InputError for a pattern that matches nothing.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layout.names):
            known = ", ".join(layout.names[:8]) + (", ..." if len(layout.names) > 8 else "")
            raise InputError(f"no parameter is called {pattern!r}; there are {known}")
    kept = [any(fnmatchcase(name, pattern) for pattern in patterns) for name in layout.names]
    return torch.repeat_interleave(torch.tensor(kept), torch.tensor(layout.sizes))
