"""Programs in lockstep: the passes that several of them ask for at the same time are one pass.

Starting the operations of a small model takes longer than their arithmetic, so that chains of several checkpoints
share the cost where they are rows of one batch. Each program is written as if it were alone, with its own noise, step
size and stopping rule; only where it asks for gradients of its chains on all the data does it wait for the others.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import greenlet
import torch
from torch import Tensor

from samplers.engine import ModuleLoss
from samplers.noise import ChainNoise

Outcome = TypeVar("Outcome")
PASS_FLOPS = 3e7  # arithmetic of one pass, and the memory it goes through, up to which more rows cost little: beyond,
PASS_BYTES = 1 << 22  # the caches are full and nothing is gained
MOST = 32  # programs at once

Ask = Callable[[Tensor], tuple[Tensor, Tensor]]


def programs_at_once(loss: ModuleLoss, chains: int) -> int:
    """How many programs of that many chains had best share their passes: 1 where nothing is gained.

    A matter of counts, not of the clock. And 1 where a row's result depends, in its last bits, on how many rows there
    are and which it is: sharing passes must not change what a program computes.
    """
    if chains < 2 or not loss.joinable:
        return 1
    flops, held = loss.flops * loss.data.n * chains, loss.activation_bytes * loss.data.n * chains
    most = min(MOST, int(PASS_FLOPS / max(flops, 1.0)), PASS_BYTES // held)
    if most < 2:
        return 1
    noise = ChainNoise(0, chains * most)
    rows = loss.center + 0.1 * noise.normal(torch.empty(chains * most, loss.dimension)).to(loss.center)
    alone = [loss.value_and_grad(part) for part in rows.split(chains)]
    for count in range(2, most + 1):
        value, gradient = loss.value_and_grad(rows[: count * chains])
        for k, expected in enumerate(alone[:count]):
            own = slice(k * chains, (k + 1) * chains)
            if not (torch.equal(value[own], expected[0]) and torch.equal(gradient[own], expected[1])):
                return 1
    return most


def run_in_lockstep(
    loss: ModuleLoss, programs: Sequence[Callable[[Ask], Outcome]], at_once: int
) -> Iterator[tuple[int, Outcome]]:
    """The number of each program and what it returns, as they end; `at_once` of them are running at any time.

    A program gets `ask`, which gives L (C,) and its gradient (C, d) at rows w (C, d), on all the data, as
    `loss.value_and_grad` does. It runs up to its next question; when all have asked, their questions are answered in
    one pass, and so on. An exception of a program is raised here.
    """
    here, recording = greenlet.getcurrent(), torch.is_grad_enabled()
    left = iter(enumerate(programs))
    waiting: dict[int, tuple[greenlet.greenlet, Tensor]] = {}

    def ask(w: Tensor) -> tuple[Tensor, Tensor]:
        own = torch.is_grad_enabled()  # a state of the thread, which all programs have in common
        answer = here.switch(w)
        torch.set_grad_enabled(own)
        return answer

    def go_on(number: int, program: greenlet.greenlet, answer: Any) -> Iterator[tuple[int, Outcome]]:
        said = program.switch(answer)
        torch.set_grad_enabled(recording)
        waiting.pop(number, None)
        if program.dead:
            yield number, said
        else:
            waiting[number] = program, said

    while True:
        while len(waiting) < at_once and (following := next(left, None)):
            yield from go_on(following[0], greenlet.greenlet(following[1]), ask)
        if not waiting:
            return
        order = sorted(waiting)
        asked = [waiting[number][1] for number in order]
        value, gradient = loss.value_and_grad(torch.cat(asked))
        sizes = [len(w) for w in asked]
        for number, *answer in zip(order, value.split(sizes), gradient.split(sizes), strict=True):
            own_value, own_gradient = answer
            yield from go_on(number, waiting[number][0], (own_value, own_gradient.clone()))  # to be overwritten
