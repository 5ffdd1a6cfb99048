"""Training runs of the toy model of superposition: rows of one batch, from near a 4-gon."""

from __future__ import annotations

import torch
from torch import Tensor

from slt.zoo.superposition import polygon

COLUMNS, SAMPLES, BATCH, RATE, EPOCHS = 6, 1000, 20, 0.005, 4500
START_PLUS, SPREAD, FREE_SPREAD = 2, 0.05, 0.4  # starting points: a 4++-gon, and noise; in its two zero columns, more


def samples(rng: torch.Generator) -> Tensor:
    """(1000, 6): one feature each, uniform in size."""
    x = torch.zeros(SAMPLES, COLUMNS)
    x[torch.arange(SAMPLES), torch.randint(COLUMNS, (SAMPLES,), generator=rng)] = torch.rand(SAMPLES, generator=rng)
    return x


def train(runs: int, epochs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights (runs, epochs + 1, 18) after every epoch, and the data (1000, 6), by minibatch SGD, all runs at once."""
    rng = torch.Generator().manual_seed(seed)
    x = samples(rng)
    spread = torch.full((3, COLUMNS), SPREAD)
    spread[:2, 4:] = FREE_SPREAD
    w = polygon(4, COLUMNS, START_PLUS).float() + spread.flatten() * torch.randn(runs, 3 * COLUMNS, generator=rng)
    history = torch.empty(runs, epochs + 1, 3 * COLUMNS)
    history[:, 0] = w
    weight, bias = w[:, : 2 * COLUMNS].reshape(runs, 2, COLUMNS).clone(), w[:, 2 * COLUMNS :].clone()
    for epoch in range(1, epochs + 1):
        order = torch.rand(runs, SAMPLES, generator=rng).argsort(1)
        for batch in x[order].split(BATCH, dim=1):
            hidden = batch @ weight.mT
            output = torch.relu(hidden @ weight + bias[:, None])
            slope = (output - batch) * (output > 0) * (2 / BATCH)
            step = hidden.mT @ slope + (slope @ weight.mT).mT @ batch
            weight -= RATE * step
            bias -= RATE * slope.sum(1)
        history[:, epoch] = torch.cat([weight.flatten(1), bias], 1)
    return history, x
