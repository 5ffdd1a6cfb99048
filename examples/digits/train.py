"""Train the digits MLP and keep a series of checkpoints, log-spaced in steps.

    python examples/digits/train.py --output runs/digits

The learning coefficient belongs to a minimum w* of the training loss L, so what is trained is L itself: no weight
decay, no augmentation, every sample. The network can separate the digits, so L has no lowest point: it falls towards
0 ever more slowly as the weights grow. A learning rate annealed to 0 stops where the descent that is left is too
small to matter: nothing lies lower than L = 0, so no draw can lower the estimate by more than n beta L(w*) nats,
beta = 1/log n. The last line prints that bound and the gradient's norm.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from task import data, model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCH = 128
LEARNING_RATE = 0.1
MOMENTUM = 0.9
CHECKPOINTS = 60


def checkpoint_steps(last: int) -> list[int]:
    """Step 0 and up to CHECKPOINTS - 1 more, log-spaced to `last` (the first are neighbours: steps are whole)."""
    count = CHECKPOINTS
    while len(steps := {0, *np.geomspace(1, last, count).round().astype(int).tolist()}) < min(CHECKPOINTS, last + 1):
        count += 1
    return sorted(steps)


def save(network: nn.Module, path: Path) -> None:
    """Write under another name first: a checkpoint is whole or not there."""
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(network.state_dict(), partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def quality(network: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """The training loss (nats per sample), the norm of its gradient and the accuracy, in float64."""
    exact = model().double()
    exact.load_state_dict(network.state_dict())
    output = exact(x.double())
    loss = cross_entropy(output, y)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(exact.parameters()))])
    accuracy = (output.argmax(1) == y).double().mean()
    return loss.item(), gradient.norm().item(), accuracy.item()


def train(output: Path, seed: int, last: int) -> None:
    torch.set_num_threads(1)  # the steps are too small to share out
    torch.manual_seed(seed)
    x, y = data()
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=last)
    steps = checkpoint_steps(last)
    names = {step: f"step_{step:06d}.safetensors" for step in steps}
    others = {path.name for path in output.glob("step_*.safetensors")} - set(names.values())
    if others:
        sys.exit(f"{output} holds checkpoints of another run ({min(others)}): give another --output, or empty it")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"{output}: {error.strerror}; give another --output")
    for name in names.values():  # an interrupted run must not be continued by an older one's checkpoints
        (output / name).unlink(missing_ok=True)

    started = time.perf_counter()
    order = torch.empty(0, dtype=torch.long)
    for step in range(last + 1):
        if step in names:
            save(network, output / names[step])
        if step in {0, last} or (step >= 100 and step == 10 ** round(math.log10(step))):
            loss, gradient, accuracy = quality(network, x, y)
            print(f"step {step:6d}  loss {loss:.3e}  accuracy {accuracy:.4f}  |gradient| {gradient:.1e}", flush=True)
        if step == last:
            break
        if len(order) < BATCH:
            order = torch.randperm(len(x))
        batch, order = order[:BATCH], order[BATCH:]
        optimizer.zero_grad()
        cross_entropy(network(x[batch]), y[batch]).backward()
        optimizer.step()
        schedule.step()
    weights = sum(parameter.detach().double().square().sum().item() for parameter in network.parameters())
    room = len(x) / math.log(len(x)) * loss
    print(f"{len(steps)} checkpoints in {output}, {time.perf_counter() - started:.1f} s; |w*|^2 {weights:.0f}")
    print(f"at most n beta L(w*) = {room:.2f} nats of descent are left below the last one")


def step_count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 999_999:
        raise argparse.ArgumentTypeError("from 1 to 999999")
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the digits MLP and keep a series of checkpoints.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=step_count, default=10_000)
    arguments = parser.parse_args()
    train(arguments.output, arguments.seed, arguments.steps)
