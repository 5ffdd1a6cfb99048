"""Work cut into pieces that fit into memory, and cut again when they did not."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from samplers.errors import InputError

Result = TypeVar("Result")
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on the device or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


class MemoryBudget:
    """Bytes that the activations of one piece of work may take.

    When memory runs out all the same, the piece is halved, the work done again and `remarks` say so.
    """

    def __init__(self, size: int):
        self.size = size
        self.remarks: list[str] = []

    def pieces(self, rows: int, samples: int, each: int, together: int) -> Iterator[tuple[slice, slice]]:
        """(samples, rows) slices of a rows × samples evaluation that keeps `each` bytes per row and sample.

        At most `together` rows at once. Rows are parted before samples: that costs no second pass over the gradient.
        """
        rows_each = max(1, min(rows, together, self.size // (each * samples)))
        samples_each = max(1, min(samples, self.size // (each * rows_each)))
        for first in range(0, samples, samples_each):
            for row in range(0, rows, rows_each):
                yield slice(first, min(first + samples_each, samples)), slice(row, min(row + rows_each, rows))

    def within(self, work: Callable[[], Result], largest: int) -> Result:
        """What `work` returns; where it runs out of memory, from pieces half as large.

        `largest` is what the whole work would take, so that halving has an effect. Raises InputError where even one
        sample of one chain does not fit.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.size = min(self.size, largest) // 2
            if self.size < 1:
                raise InputError(f"out of memory even for one sample of one chain: {said}")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.remarks.append(f"out of memory: went on with pieces of at most {self.size / 2**20:.3g} MiB ({said})")
