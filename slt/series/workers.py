"""Who does the work of a series: this process, a pool of its own, or any executor that is given."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import torch

from samplers.errors import InputError

Name = TypeVar("Name")
Outcome = TypeVar("Outcome")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def executor_for(given: Executor | None, count: int) -> Iterator[Executor | None]:
    """The given executor, left open; else a pool of `count` processes; None where this process is enough."""
    if given is not None or count < 2:
        yield given
        return
    context = multiprocessing.get_context("spawn")  # forked processes would inherit locks and torch's threads
    threads = max(1, cores() // count)
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker, initargs=(threads,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def outcomes(
    jobs: Sequence[tuple[Name, Callable[[], Outcome]]], executor: Executor | None
) -> Iterator[tuple[Name, Outcome]]:
    """Each job's name and outcome as it comes in.

    Raises InputError where a worker process is gone.
    """
    if executor is None:
        yield from ((name, job()) for name, job in jobs)
        return
    running: dict[Future[Outcome], Name] = {executor.submit(job): name for name, job in jobs}
    try:
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended abruptly, perhaps for want of memory; run it again with fewer workers: it goes on"
        ) from error
    finally:
        for future in running:
            future.cancel()


def _start_worker(threads: int) -> None:
    """In a new worker: its share of the cores; and it ends when the process that started it is killed, or on Ctrl-C,
    without a word.
    """
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
