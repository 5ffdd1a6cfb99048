"""Stiff directions that chains share: found by Lanczos at one chain, believed where another chain agrees."""

from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.curvature import gradient_of_potential, hessian_vector, leading_eigenpairs
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.tuning import RANK, curvature_radius

EXTRA_ITERATIONS = 10  # of Lanczos, beyond the rank, for the last of the eigenvalues to settle
OUTLIER = 2.0  # times γ: directions less stiff than that are left as they are
AGREEMENT = 0.7  # root mean square of log(curvature at the other chain / at the first), e^0.7 = 2


@dataclass(frozen=True)
class Stiffness:
    """Directions (d, k), orthonormal, with the curvature nβ vᵀ∇²L v (k,) of the loss along them, at `n_beta`.

    `relief` is the ratio of the largest curvatures of the potential without the metric and with it.
    """

    directions: Tensor
    curvature: Tensor
    n_beta: float
    relief: float

    def metric(self, n_beta: float, gamma: float) -> LowRank:
        """G = 1 - Q (1 - γ/(γ + c)) Qᵀ with the curvatures c at another temperature: proportional to nβ."""
        c = self.curvature * (n_beta / self.n_beta)
        return LowRank(self.directions, gamma / (gamma + c))


def shared_stiffness(posterior: LocalPosterior, w: Tensor, noise: ChainNoise) -> tuple[Stiffness | None, int]:
    """The stiff directions at chains w (C, d), or None where chains do not share them; and the gradients it took.

    Directions and curvatures are those of the first chain, and the curvatures along them at other chains are held
    against those. In a singular posterior what is stiff at one point is flat at another: then no fixed metric fits,
    and one that is made for a single point slows down the others. The smallest curvature seen is what counts.
    """
    gamma, n_beta = float(posterior.gamma.max()), float(posterior.n_beta.max())
    if len(w) < 2 or n_beta == 0:
        return None, 0
    gradient, radius = gradient_of_potential(posterior), curvature_radius(posterior)
    rank = min(RANK, posterior.dimension)
    iterations = min(rank + EXTRA_ITERATIONS, posterior.dimension)
    directions = leading_eigenpairs(
        lambda v: hessian_vector(gradient, w[:1], v, radius), noise.normal(w[:1]), rank, iterations
    )[1]

    def along(rows: Tensor, direction: Tensor) -> Tensor:
        return hessian_vector(gradient, rows, direction.expand(len(rows), -1), radius) @ direction

    # Differences of gradients are not quite linear in the direction, so that Lanczos's own values may be off.
    values = torch.cat([along(w[:1], direction) for direction in directions.T])
    spent = 2 * (iterations + len(values))
    stiff = values > OUTLIER * gamma
    values, directions = values[stiff], directions[:, stiff]
    if not len(values):
        return None, spent
    others = w[1:]
    each = min(len(others), max(1, RANK // len(values)))  # chains that look along each direction
    rows = [[(i * each + j) % len(others) for j in range(each)] for i in range(len(values))]
    seen = [along(others[row], direction) for row, direction in zip(rows, directions.T, strict=True)]
    there = torch.stack(seen).clamp(min=gamma)  # (k, each)
    spent += 2 * there.numel()
    apart = (there / values[:, None]).log().square().mean().sqrt()
    if not float(apart) <= AGREEMENT:
        return None, spent
    kept = torch.minimum(values, there.amin(1))
    left = float(values.min()) if len(values) == rank < posterior.dimension else OUTLIER * gamma
    relief = float(values.max()) / max(left, gamma * float((values / kept).max()))
    return Stiffness(directions, kept - gamma, n_beta, max(1.0, relief)), spent
