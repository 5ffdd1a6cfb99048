"""The models and data of the throughput benchmark: plain torch, so that every party can import them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.models import mlp

STEP_SIZE, GAMMA, N_BETA = 1e-6, 100.0, 20.0
SKIPPED = 0.3  # of the steps at the front are not timed


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mixed(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """The shape of GPT-2: 136,960 weights with 512 words, 64 places, width 64, two blocks, tied output."""

    def __init__(self, words: int = 512, places: int = 64, width: int = 64, blocks: int = 2, heads: int = 4):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(places, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.words(input_ids) + self.places.weight[: input_ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.words.weight.T


@dataclass(frozen=True)
class Workload:
    model: Callable[[], nn.Module]
    inputs: int  # of an MLP; 0: a language model
    chains: int
    batch: int
    samples: int
    steps: int  # of one measurement

    def build(self) -> tuple[nn.Module, Tensor, Tensor]:
        """The model, and inputs and targets of all samples; the targets of a language model are its inputs."""
        torch.manual_seed(0)
        model = self.model()
        if not self.inputs:
            ids = torch.randint(0, 512, (self.samples, 64))
            return model, ids, ids
        return model, torch.randn(self.samples, self.inputs), torch.randint(0, 10, (self.samples,))


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy of every predicted token, (B, T - 1)."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


def rate_of(ticks: list[float], each: float) -> float:
    """Steps per second over the ticks after the first few, `each` chain-steps per tick."""
    kept = ticks[int(SKIPPED * len(ticks)) :]
    return each * (len(kept) - 1) / (kept[-1] - kept[0])


WORKLOADS = {
    "mlp-330": Workload(lambda: mlp([10, 10, 10, 10]), 10, chains=16, batch=64, samples=1024, steps=1500),
    "mlp-109k": Workload(lambda: mlp([784, 128, 64, 10]), 784, chains=8, batch=256, samples=4096, steps=120),
    "gpt-137k": Workload(GPT, 0, chains=4, batch=16, samples=256, steps=40),
}
