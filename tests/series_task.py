"""A task and a series of checkpoints small enough to be estimated in a moment."""

import torch

TASK = """
import torch
from torch import nn

def model():
    return nn.Linear(3, 1)

def data():
    order = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=order)
    return x, x.sum(1, keepdim=True) + 0.02 * torch.randn(60, 1, generator=order)

def loss(output, target):
    return (output - target).square().sum(-1) / (2 * 0.09)
"""


def weights(step):
    """Weights that approach the minimum, about (1, 1, 1), and are near it from the start."""
    return {"weight": torch.full((1, 3), 1 - 0.05 * 0.5 ** (step / 10)), "bias": torch.zeros(1)}
