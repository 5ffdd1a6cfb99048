"""How far a step without rejection puts E[U] off, measured where the chains are."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.curvature import gradient_of_potential, hessian_vector
from samplers.errors import InputError
from samplers.kernel import column
from samplers.noise import ChainNoise
from samplers.noise_compensation import NoiseCompensation
from samplers.posterior import LocalPosterior
from samplers.preconditioner import require_fixed
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD


class StepBias(NamedTuple):
    """Excess of E[U] over the posterior's, in nats, to first order in ε, for each chain."""

    discretization: Tensor  # (C,) float64
    minibatches: Tensor  # (C,) float64


def step_bias(
    posterior: LocalPosterior,
    kernel: SGLD | SGHMC,
    w: Tensor,
    noise: ChainNoise,
    minibatches: Sequence[Tensor],
    radius: float,
) -> StepBias:
    """(ε/8) tr RᵀSR from the curvature S of U, and (ε/8) tr RᵀVR (1 + c)/(1 - c) from the noise V of ∇U, G = R Rᵀ.

    On a quadratic a Langevin step widens the direction of curvature s by 1 + εs/4 and gradient noise of variance V by
    1 + εV/4, which is ε/8 times either in E[U] = ½ Σ s_i v_i. SGHMC with momentum c has no excess of the first kind
    and (1 + c)/(1 - c) times that of the second. What lands in directions in which L is flat widens |w - w*|² instead
    of L, so that nβ E[L], and with it the learning coefficient, is too high by at most the sum. Noise compensation is
    left out of account: it takes away most of the second part.

    Both are averages over the given minibatches, at the positions w (C, d): one random direction for the trace of S
    (over a distance `radius`) and one sample of the noise from each, at four gradients.
    """
    if not minibatches:
        raise InputError("step_bias needs at least one minibatch")
    fixed = require_fixed(kernel.preconditioner, "step_bias")
    metric = kernel.constraint.restrict(posterior, fixed)
    curvature, spread = torch.zeros(2, len(w), dtype=torch.float64, device=w.device)
    for index in minibatches:
        direction = metric.root(noise.normal(w).sign())
        product = hessian_vector(gradient_of_potential(posterior, index), w, direction, radius)
        curvature += (direction * product).sum(-1, dtype=torch.float64)
        _, sample = NoiseCompensation().evaluate(kernel.gradient, posterior, w, index)
        if sample is not None:
            spread += metric.root_transpose(sample).square().sum(-1, dtype=torch.float64)
    per_step = torch.as_tensor(column(kernel.step_size, curvature), dtype=torch.float64).reshape(-1) / 8
    scale = per_step / len(minibatches)
    if isinstance(kernel, SGHMC):
        return StepBias(torch.zeros_like(curvature), scale * spread * (1 + kernel.momentum) / (1 - kernel.momentum))
    return StepBias(scale * curvature, scale * spread)
