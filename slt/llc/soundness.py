"""Is there anything to estimate? What is wrong with a model, its loss or its data before any chain has moved."""

import math

import torch
from torch import Tensor

from samplers.engine import ModuleLoss
from samplers.errors import InputError
from samplers.noise import data_generator
from samplers.posterior import LocalPosterior
from samplers.tuning import curvature_radius
from slt.losses import GaussianLoss

FEW = 64  # samples on which evaluations are compared
EXACT_FIT = 1e-5  # of the targets: residuals that are no noise but rounding, as with targets made by the model itself
SAMPLES_PER_PARAMETER = 5
UNRESOLVED = 64  # units in the last place of a weight
KINK_SAMPLES, KINK_PROBES = 2048, 2
KINKED, SAME_JUMP = 0.3, 0.5


def unlike_data(function: ModuleLoss, center_loss: float) -> list[str]:
    """Signs that the loss is not the negative log-likelihood of these data.

    Raises InputError where a sample's loss depends on the samples it is evaluated with: then there is no loss per
    sample.
    """
    count = min(FEW, function.data.n)
    index, center = torch.arange(count), function.center[None]
    whole = function.per_sample(center, index)[0].double()
    halves = torch.cat([function.per_sample(center, part)[0] for part in index.split(max(1, count // 2))]).double()
    if not torch.allclose(whole, halves, rtol=1e-2, atol=1e-3 * float(whole.abs().mean())):
        raise InputError(
            "the loss of a sample depends on the samples it is evaluated with: batch statistics are in use inside the "
            "model or the loss; use running statistics, and a loss that treats samples one by one"
        )
    if isinstance(function.loss, GaussianLoss):
        targets = function.data.batch(slice(0, count)).target
        ratio = 2 * center_loss * len(targets) / max(1, targets.numel())
        variance = function.loss.noise_variance
        rounding = EXACT_FIT**2 * float(targets.double().square().mean())
        if ratio > 2 or (ratio < 0.5 and ratio * variance > rounding):
            return [
                f"the residuals at w* have variance {ratio * variance:.3g}, not the noise variance {variance:.3g} of "
                f"the loss, so llc is that of a temperature {ratio:.2g} times too {'low' if ratio > 1 else 'high'}: "
                f"use slt.gaussian_loss({ratio * variance:.3g})"
            ]
    return []


def unresolved(center: Tensor, gamma: float) -> None:
    """Raises InputError where the chains would stay within the rounding of w*."""
    size = float(center.double().square().mean().sqrt())
    reach, least = 1 / math.sqrt(gamma), UNRESOLVED * torch.finfo(center.dtype).eps * size
    if reach < least:
        raise InputError(
            f"gamma = {gamma:.4g} keeps every weight within {reach:.2g} of w*, less than {UNRESOLVED} times the "
            f"rounding of {str(center.dtype).removeprefix('torch.')}: use a gamma of at most {least**-2:.2g}"
            + (", or dtype='float64'" if center.dtype != torch.float64 else "")
        )


def half_precision(kinds: set[torch.dtype], run_in: str) -> list[str]:
    """What is to be said of weights that were kept in half precision; `run_in` is the dtype of the chains."""
    names = sorted(str(k).removeprefix("torch.") for k in kinds if k.is_floating_point and k.itemsize < 4)
    if not names:
        return []
    return [
        f"the weights are {', '.join(names)}: chains run in {run_in}, around w* as rounded, which need not be the "
        "minimum that training found"
    ]


def too_few_data(n: int, dimension: int, llc: float) -> list[str]:
    """Whether n is small against 2λ̂, the parameters that matter: what is found is then about these n samples only."""
    effective = max(1.0, 2 * abs(llc)) if math.isfinite(llc) else 1.0
    if n >= SAMPLES_PER_PARAMETER * effective:
        return []
    return [
        f"too few data: n = {n} samples for {effective:.3g} effective parameters (2 llc) of {dimension}: llc describes "
        "the loss of these samples, not that of their distribution: use more samples"
    ]


def drifted(before: float, after: float) -> list[str]:
    """Whether L(w*) was the same after the run as before it."""
    if abs(after - before) <= 1e-5 * max(1e-3, abs(before)):
        return []
    return [
        f"the loss is not deterministic: L(w*) was {before:.6g} before the run and {after:.6g} after it: switch off "
        "randomness and anything that remembers earlier evaluations inside the model or the loss"
    ]


def kinks(posterior: LocalPosterior) -> list[str]:
    """Whether the gradient of L jumps at w*: changes to either side that do not become opposite as they shrink.

    At half the step the jump is the same vector, and what rounding makes of the gradient is another. As few vectors are
    held as can be, for they are as large as the model.
    """
    n = int(posterior.n)
    index = None if n <= KINK_SAMPLES else torch.randperm(n, generator=data_generator(2))[:KINK_SAMPLES]
    center = posterior.centers[:1]
    here = posterior.loss.value_and_grad(center, index)[1]
    least = 1e-3 * float(here.norm()) + 1e-12

    def moved(probe: int, step: float) -> Tensor:
        point = torch.randn(center.shape, generator=data_generator(3 + probe), dtype=center.dtype).to(center.device)
        point.mul_(step * curvature_radius(posterior) / 64 / float(point.norm())).add_(center)
        return posterior.loss.value_and_grad(point, index)[1].sub_(here)

    def jump(probe: int, step: float) -> Tensor | None:
        """The direction of the jump; None where the gradient changes as a smooth one does."""
        ahead, behind = moved(probe, step), moved(probe, -step)
        overlap = float(ahead[0] @ behind[0])
        change = max(0.0, float(ahead.norm()) ** 2 + float(behind.norm()) ** 2 - 2 * overlap) ** 0.5
        size = float(ahead.add_(behind).norm())
        return ahead.div_(size) if change > least and size >= KINKED * change else None

    def kinked(probe: int) -> bool:
        first = jump(probe, 1.0)
        second = None if first is None else jump(probe, 0.5)
        return first is not None and second is not None and float(first[0] @ second[0]) >= SAME_JUMP

    if not all(kinked(probe) for probe in range(KINK_PROBES)):
        return []
    return [
        "w* lies on a kink of the loss (a ReLU at 0, say): it has no Hessian there; llc is the exponent of the volume, "
        "which sampling sees, not half a rank"
    ]
