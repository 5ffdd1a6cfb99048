"""Programs in lockstep: the passes that several of them ask for at the same time are one pass.

Starting the operations of a small model takes longer than their arithmetic, so that chains of several checkpoints
share the cost where they are rows of one batch. Each program is written as if it were alone, with its own noise, step
size and stopping rule; only where it asks for gradients of its chains on all the data does it wait for the others.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

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


def run_in_lockstep(loss: ModuleLoss, programs: Sequence[Callable[[Ask], Outcome]]) -> list[Outcome]:
    """What each program returns. A program gets `ask`, which gives L (C,) and its gradient (C, d) at rows w (C, d), on
    all the data, as `loss.value_and_grad` does.

    Programs run one at a time, each in a thread of its own, up to its next question; when all have asked, their
    questions are answered in one pass, and so on. An exception of a program is raised here.
    """
    running = waiting = [_Program(program) for program in programs]
    try:
        while waiting:
            for one in waiting:
                one.resume()
            waiting = [one for one in waiting if one.question is not None]
            _answer(loss, waiting)
        return [one.result() for one in running]
    finally:
        for one in running:
            one.abandon()


def _answer(loss: ModuleLoss, waiting: "Sequence[_Program]") -> None:
    questions = [one.question for one in waiting if one.question is not None]
    if not questions:
        return
    value, gradient = loss.value_and_grad(torch.cat(questions))
    sizes = [len(rows) for rows in questions]
    for one, own_value, own_gradient in zip(waiting, value.split(sizes), gradient.split(sizes), strict=True):
        one.question, one.answer = None, (own_value, own_gradient.clone())  # which the program may overwrite


class _Abandoned(BaseException):
    """Ends a program whose answer will never come."""


class _Program(Generic[Outcome]):
    """A thread that runs only between `resume` and its next question, or its end."""

    def __init__(self, program: Callable[[Ask], Outcome]):
        self.question: Tensor | None = None
        self.answer: tuple[Tensor, Tensor] | None = None
        self._program = program
        self._returned: list[Outcome] = []
        self._raised: BaseException | None = None
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def resume(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        self._go.release()
        self._stopped.acquire()

    def result(self) -> Outcome:
        if self._raised is not None:
            raise self._raised
        return self._returned[0]

    def abandon(self) -> None:
        if self._thread.is_alive():
            self.answer = None
            self._go.release()
            self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._returned.append(self._program(self._ask))
        except BaseException as error:
            self._raised = error
        finally:
            self._stopped.release()

    def _ask(self, w: Tensor) -> tuple[Tensor, Tensor]:
        self.question = w
        self._stopped.release()
        self._go.acquire()
        if self.answer is None:
            raise _Abandoned
        answer, self.answer = self.answer, None
        return answer
