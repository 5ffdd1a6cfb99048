"""Is there anything to estimate? What is wrong with a model, its loss or its data before any chain has moved."""

import math

import torch

from samplers.engine import ModuleLoss
from samplers.errors import InputError
from samplers.noise import data_generator
from samplers.posterior import LocalPosterior
from samplers.tuning import curvature_radius
from slt.losses import GaussianLoss

FEW = 64  # samples on which evaluations are compared
EXACT_FIT = 1e-6  # of σ²: residuals that are no noise but rounding, as with targets made by the model itself
SAMPLES_PER_PARAMETER = 5
KINK_SAMPLES, KINK_PROBES = 2048, 2
KINKED = 0.3


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
        target = function.data.batch(slice(0, 1)).target
        ratio = 2 * center_loss / max(1, target.numel())
        if ratio > 2 or EXACT_FIT < ratio < 0.5:
            variance = function.loss.noise_variance
            return [
                f"the residuals at w* have variance {ratio * variance:.3g}, not the noise variance {variance:.3g} of "
                f"the loss, so llc is that of a temperature {ratio:.2g} times too {'low' if ratio > 1 else 'high'}: "
                f"use slt.gaussian_loss({ratio * variance:.3g})"
            ]
    return []


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
    """Whether the gradient of L jumps at w*: changes to either side that do not become opposite as they shrink."""
    n = int(posterior.n)
    index = None if n <= KINK_SAMPLES else torch.randperm(n, generator=data_generator(2))[:KINK_SAMPLES]
    center = posterior.centers[:1]
    here = posterior.loss.value_and_grad(center, index)[1].double()
    jumps = []
    for probe in range(KINK_PROBES):
        generator = data_generator(3 + probe)
        v = torch.randn(center.shape, generator=generator, dtype=torch.float64).to(center)
        v = v * (curvature_radius(posterior) / 64 / v.norm())
        ahead, behind = (posterior.loss.value_and_grad(center + s * v, index)[1].double() - here for s in (1, -1))
        change = float((ahead - behind).norm())
        jumps.append(float((ahead + behind).norm()) / change if change > 1e-3 * float(here.norm()) + 1e-12 else 0.0)
    if min(jumps) < KINKED:
        return []
    return [
        "w* lies on a kink of the loss (a ReLU at 0, say): it has no Hessian there; llc is the exponent of the volume, "
        "which sampling sees, not half a rank"
    ]
