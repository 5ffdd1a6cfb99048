"""Models that both sides of a comparison build from the same few words. Plain torch: the peers' environments import it.

Weights travel as arrays by state-dict name (see spec.py), so that both sides start at the same w*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTEXT, WIDTH = 8, 4  # of the character transformer
ACTIVATIONS = {"identity": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def mlp(widths: Sequence[int], activation: str = "relu", bias: bool = True) -> nn.Module:
    """Linear layers with an activation between them; `identity` without bias is a deep linear network."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [ACTIVATIONS[activation]()] * (i > 0) + [nn.Linear(inputs, outputs, bias=bias)]
    return nn.Sequential(*layers)


def cnn() -> nn.Module:
    """8 × 8 images (B, 1, 8, 8) to 10 logits; 666 weights."""
    first = (nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2))
    second = (nn.Conv2d(4, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32, 10))


class Block(nn.Module):
    """Causal attention of one head and an MLP, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys, self.values, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.queries(x) @ self.keys(x).mT / WIDTH**0.5  # (B, T, T)
        past = torch.ones_like(scores[0], dtype=torch.bool).tril()
        x = x + self.out(scores.where(past, -torch.inf).softmax(-1) @ self.values(x))
        return x + self.mlp(x)


class CharacterTransformer(nn.Module):
    """Two blocks: token ids (B, T) to logits (B, T, V)."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[-1], device=ids.device)
        return self.head(self.blocks(self.tokens(ids) + self.places(places)))


class Superposition(nn.Module):
    """ReLU(WᵀW x + b), W (2, c) (Chen et al. 2023)."""

    def __init__(self, columns: int = 6):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(2, columns)), nn.Parameter(torch.zeros(columns))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight.T @ self.weight + self.bias)


class Logistic(nn.Module):
    """Log-odds w·x + b of label 1 from ten inputs: logits (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        odds = self.linear(x)
        return torch.cat([torch.zeros_like(odds), odds], -1)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "character-transformer": CharacterTransformer,
    "superposition": Superposition,
    "logistic": Logistic,
}


def gaussian(output: Tensor, target: Tensor, noise_variance: float) -> Tensor:
    """½|y - f|²/σ² per sample, (B,), as slt.gaussian_loss has it: summed over the outputs."""
    return 0.5 * (output - target).square().flatten(1).sum(1) / noise_variance


def cross_entropy(output: Tensor, target: Tensor, noise_variance: float) -> Tensor:
    """-log softmax(output)[target] per sample, (B,)."""
    return F.cross_entropy(output, target, reduction="none")


def next_token(output: Tensor, target: Tensor, noise_variance: float) -> Tensor:
    """Mean cross-entropy of every token after the first, per sequence, (B,), as slt.causal_lm_loss has it."""
    following = target[:, 1:]
    losses = F.cross_entropy(output[:, :-1].flatten(0, 1), following.flatten(), reduction="none")
    return losses.view_as(following).mean(1)


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "gaussian": gaussian,
    "cross-entropy": cross_entropy,
    "next-token": next_token,
}
