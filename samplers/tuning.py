"""Choices made from the curvature of the potential: the preconditioner, and the step size of uncorrected kernels."""

from dataclasses import replace

from torch import Tensor

from samplers.curvature import diagonal_curvature, gradient_of_potential, largest_curvature
from samplers.errors import InputError
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Identity, Preconditioner
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT

STABILITY = 4.0  # a Langevin step on curvature s is stable for ε s < 4
RANK = 24  # directions of a low-rank preconditioner
PROBES = 4  # random directions for a diagonal of curvatures, at two gradients each; it is averaged over chains too
ITERATIONS = 8  # of the power iteration for the largest one, at two gradients each
SAFETY = 0.05  # the fraction of it that is used: at most 5% of upward bias in the stiffest direction


LangevinKernel = SGLD | SGHMC | SGNHT


def curvature_radius(posterior: LocalPosterior) -> float:
    """How far a curvature is measured: a tenth of √(d/γ), the typical distance of a chain from w*."""
    return 0.1 * float((posterior.dimension / posterior.gamma.max()).sqrt())


def choose_preconditioner(
    name: str, posterior: LocalPosterior, w: Tensor, noise: ChainNoise, index: Tensor | None
) -> Preconditioner:
    """The preconditioner called `name`, from the curvature at the positions w (C, d) on the samples `index`.

    'low-rank' flattens the stiffest directions at the first of them, 'diagonal' divides by the mean curvature along
    each coordinate.
    """
    if name == "identity":
        return Identity()
    gradient, radius, gamma = gradient_of_potential(posterior, index), curvature_radius(posterior), posterior.gamma
    if name == "low-rank":
        return LowRank.from_curvature(gradient, w[:1], noise, radius, float(gamma.max()), min(RANK, w.shape[1]))
    if name != "diagonal":
        raise InputError(f"preconditioner must be 'diagonal', 'low-rank' or 'identity', got {name!r}")
    curvature = diagonal_curvature(gradient, w, noise, radius, PROBES)
    return Diagonal.from_curvature(curvature.nan_to_num(0), float(gamma.max()))


def tune_sgld(
    posterior: LocalPosterior, kernel: LangevinKernel, w: Tensor, noise: ChainNoise, index: Tensor | None
) -> LangevinKernel:
    """The kernel with ε = 4 · SAFETY / s, s the largest preconditioned curvature of U at the positions w (C, d).

    With momentum c it is (1 - c)/(1 + c) of that on minibatches: their noise counts for (1 + c)/(1 - c) times as much.
    """
    gradient = gradient_of_potential(posterior, index)
    metric = kernel.preconditioner.at(kernel.preconditioner.init(posterior, w))
    curvature = largest_curvature(gradient, w, noise, curvature_radius(posterior), metric, ITERATIONS)
    largest = max(float(curvature.nan_to_num(0).max()), float(posterior.gamma.max()))
    momentum = kernel.momentum if isinstance(kernel, SGHMC) and index is not None else 0.0
    return replace(kernel, step_size=STABILITY * SAFETY / largest * (1 - momentum) / (1 + momentum))
