"""Per-sample losses in nats: the negative log-likelihoods that learning coefficients are about."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samplers.errors import InputError

FEW_CLASSES = 16  # up to which a softmax across rows, sample beside sample, is faster than one within each row


def _logits(output: Any) -> Tensor:
    """The tensor inside a Hugging Face style output, or the output itself."""
    return getattr(output, "logits", output)


def cross_entropy(output: Any, target: Tensor) -> Tensor:
    """-log softmax(output)[target] per sample, in nats, shape (B,).

    Output (B, K), or (B, T, K) or (B, K, T) with target (B, T): then the mean over the positions of a sample whose
    target is not -100 (the field's convention for sequences). Raises InputError where the shapes do not fit.
    """
    logits = _logits(output)
    if logits.ndim == target.ndim + 1 and logits.ndim > 2:
        last, second = logits.shape[:-1] == target.shape, logits.shape[:1] + logits.shape[2:] == target.shape
        if last and not second:
            logits = logits.movedim(-1, 1)
        elif last and second:
            raise InputError(
                f"output {tuple(logits.shape)} and target {tuple(target.shape)} do not tell which axis is the classes; "
                "define loss(output, target)"
            )
    if logits.ndim != target.ndim + 1 or logits.shape[:1] + logits.shape[2:] != target.shape:
        raise InputError(
            f"cross-entropy needs output (samples, classes) for target (samples,), got output {tuple(logits.shape)} "
            f"and target {tuple(target.shape)}; define loss(output, target)"
        )
    if logits.ndim == 2 and logits.shape[1] <= FEW_CLASSES:
        by_class = logits.T.contiguous()
        return F.cross_entropy(by_class[None], target[None], reduction="none")[0]
    losses = F.cross_entropy(logits, target, reduction="none")
    if losses.ndim == 1:
        return losses
    counted = (target != -100).flatten(1)
    return losses.flatten(1).sum(1) / counted.sum(1).clamp(min=1)


def causal_lm_loss(output: Any, labels: Tensor) -> Tensor:
    """Next-token cross-entropy, mean over the tokens of each sequence that are not -100, in nats, shape (B,).

    Position t of the logits (B, T, V) is held against labels[:, t + 1], so labels may be the input ids themselves
    (padding set to -100), as Hugging Face causal language models have it.
    """
    logits = _logits(output)[:, :-1].flatten(0, 1)
    following = labels[:, 1:]
    losses = F.cross_entropy(logits, following.flatten(), reduction="none").view_as(following)
    return losses.sum(1) / (following != -100).sum(1).clamp(min=1)


@dataclass(frozen=True)
class GaussianLoss:
    """½|y - f|²/σ² per sample; `noise_variance` is σ²."""

    noise_variance: float

    def __post_init__(self) -> None:
        if not (self.noise_variance > 0 and math.isfinite(self.noise_variance)):
            raise InputError(f"the noise variance must be positive and finite, got {self.noise_variance}")

    def __call__(self, output: Any, target: Tensor) -> Tensor:
        """Loss per sample (B,), in nats, for output and target of one shape (B, ...)."""
        prediction = _logits(output)
        if prediction.shape != target.shape:
            raise InputError(
                f"squared error needs output and target of one shape, got {tuple(prediction.shape)} and "
                f"{tuple(target.shape)}"
            )
        return 0.5 * (prediction - target).square().flatten(1).sum(1) / self.noise_variance


def gaussian_loss(noise_variance: float) -> Callable[[Any, Tensor], Tensor]:
    """½|y - f|²/σ² per sample, in nats, summed over the outputs: regression with known noise variance σ².

    The constant ½ log(2πσ²) per output cancels in every learning coefficient, and between free energies at one σ²; it
    is left out.
    """
    return GaussianLoss(noise_variance)


def default_loss(output: Any, target: Any) -> Tensor:
    """Cross-entropy for integer targets. Anything else is refused with what to write instead."""
    if not isinstance(target, Tensor):
        raise InputError("there is no default loss for targets that are not one tensor; define loss(output, target)")
    if target.is_floating_point() or target.dtype == torch.bool:
        raise InputError(
            "squared error needs its noise variance: for real-valued targets give "
            "loss = slt.gaussian_loss(noise_variance), or loss(output, target) returning each sample's negative "
            "log-likelihood in nats"
        )
    if hasattr(output, "logits") and output.logits.shape[:-1] == target.shape and target.ndim == 2:
        raise InputError("for a language model give loss = slt.causal_lm_loss (shifts labels by one position)")
    return cross_entropy(output, target)
