"""Models that both sides of a comparison build from the same few words. Plain torch: the peers' environments import it.

Weights travel as arrays by state-dict name (see spec.py), so that both sides start at the same w*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"identity": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def mlp(widths: Sequence[int], activation: str = "relu", bias: bool = True) -> nn.Module:
    """Linear layers with an activation between them; `identity` without bias is a deep linear network."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [ACTIVATIONS[activation]()] * (i > 0) + [nn.Linear(inputs, outputs, bias=bias)]
    return nn.Sequential(*layers)


MODELS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp}


def gaussian(output: Tensor, target: Tensor, noise_variance: float) -> Tensor:
    """½|y - f|²/σ² per sample, (B,), as slt.gaussian_loss has it: summed over the outputs."""
    return 0.5 * (output - target).square().flatten(1).sum(1) / noise_variance


def cross_entropy(output: Tensor, target: Tensor, noise_variance: float) -> Tensor:
    """-log softmax(output)[target] per sample, (B,)."""
    return F.cross_entropy(output, target, reduction="none")


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"gaussian": gaussian, "cross-entropy": cross_entropy}
