"""A task file: the network and the data that a checkpoint belongs to, in plain Python.

`model()` builds the network; the checkpoint's weights are loaded into it, so what it starts from does not matter.
`data()` gives the training samples that the loss is a mean over: here tensors (X, Y), else a map-style Dataset.
`loss(output, target)`, one loss per sample in nats, is left out: for integer targets it is the cross-entropy.
Then: slt estimate examples/digits/task.py runs/digits/step_010000.safetensors
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


def model() -> nn.Module:
    """An MLP 64-32-10, 2,410 weights; tanh, because the theory asks for a loss that is analytic in the weights."""
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def data() -> tuple[Tensor, Tensor]:
    """All 1,797 handwritten digits: X (1797, 64) in [0, 1], Y (1797,) in 0..9."""
    images, digits = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits, dtype=torch.long)
