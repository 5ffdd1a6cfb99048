"""Task: a model, its data and a per-sample loss, from Python objects or from a task file."""

import inspect
import runpy
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
)  # fmt: skip

from samplers.engine import PerSampleLoss
from samplers.errors import InputError
from samplers.resume import fingerprint
from slt.losses import default_loss

_TARGET_KEYS = ("labels", "label", "target", "targets", "y")
RESIDENT_BYTES = 4 << 30  # data up to this size are collated once and stay on the device


@dataclass(frozen=True)
class Batch:
    """What the model is called with, and what its output is held against."""

    args: tuple
    kwargs: dict[str, Any]
    target: Any


class DataSource:
    """n samples that can be fetched by index, on a device and in a floating dtype.

    Accepts tensors `(X, ..., Y)` (the last is the target), a map-style Dataset of tuples or dicts (the target under
    'labels', 'label', 'target', 'targets' or 'y'; everything else goes to the model by name), or a DataLoader over
    one, of which only the dataset counts, or of a SubsetRandomSampler its part. Data that fit in memory are collated
    once and kept on the device.
    """

    def __init__(self, data: Any, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
        self._device, self._dtype = torch.device(device), dtype
        self._collate: Callable[[list], Any] = default_collate
        if isinstance(data, DataLoader):
            self._collate = data.collate_fn or default_collate
            chosen = data.sampler.indices if isinstance(data.sampler, SubsetRandomSampler) else None
            data = data.dataset if chosen is None else Subset(data.dataset, list(chosen))
        if isinstance(data, TensorDataset):
            data = data.tensors
        self._dataset: Any = None
        if isinstance(data, (tuple, list)) and data and all(isinstance(part, Tensor) for part in data):
            self._resident: Any = self._place(_same_length(tuple(data)))
            self.n = len(data[0])
        else:
            self._dataset, self.n = _map_style(data), len(data)
            self._resident = None
        if self.n == 0:
            raise InputError("the dataset is empty: a learning coefficient needs samples")
        if self._dataset is not None:
            try:
                self._load()
            except InputError:
                raise
            except Exception as error:  # whatever the user's dataset raises
                said = (str(error).strip() or "no message").splitlines()[0]
                raise InputError(f"the dataset raised {type(error).__name__}: {said}") from error

        whole = self._resident
        self._plain = isinstance(whole, tuple) and all(isinstance(part, Tensor) for part in whole)

    def batch(self, index: Tensor | slice) -> Batch:
        """The samples at `index`, split into what the model gets and the target."""
        if self._resident is not None:
            if isinstance(index, Tensor):
                index = index.to(self._device)
                if self._plain:  # the common case, without a walk through the structure
                    return _split(tuple(part.index_select(0, index) for part in self._resident))
                return _split(tree_map(lambda part: part.index_select(0, index), self._resident))
            return _split(tree_map(lambda part: part[index], self._resident))
        numbers = list(range(self.n)[index]) if isinstance(index, slice) else index.tolist()
        return _split(self._place(self._collate([self._dataset[i] for i in numbers])))

    def digest(self) -> str:
        """A digest of the samples: of all of them where they are kept on the device, else of the first few."""
        known = self._resident if self._resident is not None else vars(self.batch(slice(0, min(self.n, 64))))
        return fingerprint([self.n, known])

    def _load(self) -> None:
        first = self._collate([self._dataset[0]])
        leaves = [leaf for leaf in tree_leaves(first) if isinstance(leaf, Tensor)]
        if not leaves or len(leaves) != len(tree_leaves(first)):
            raise InputError(
                f"samples must be tuples or dicts of tensors or numbers, got {_describe(self._dataset[0])}"
            )
        _split(first)
        if self.n * sum(leaf.numel() * leaf.element_size() for leaf in leaves) <= RESIDENT_BYTES:
            try:
                whole = self._collate([self._dataset[i] for i in range(self.n)])
            except RuntimeError as error:  # samples of different shapes
                raise InputError(
                    f"the samples cannot be stacked into one tensor: {str(error).splitlines()[0]}"
                ) from error
            self._resident = self._place(whole)

    def _place(self, parts: Any) -> Any:
        def place(part: Any) -> Any:
            if not isinstance(part, Tensor):
                return part
            return part.to(self._device, self._dtype if part.is_floating_point() else None)

        return tree_map(place, parts)


def _same_length(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if len(parts) < 2:
        raise InputError("data must hold inputs and targets, (X, Y), got a single tensor")
    lengths = [len(part) if part.ndim else None for part in parts]
    if len(set(lengths)) > 1 or None in lengths:
        raise InputError(f"inputs and targets must have the same number of samples, got {lengths}")
    return parts


def _map_style(data: Any) -> Any:
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise InputError(
            f"data must be tensors (X, Y), a map-style Dataset or a DataLoader over one, got {type(data).__name__}; "
            "a dataset needs __len__ and __getitem__"
        )
    return data


def _split(sample: Any) -> Batch:
    if isinstance(sample, tuple) and len(sample) >= 2:
        return Batch(sample[:-1], {}, sample[-1])
    if isinstance(sample, Mapping):
        key = next((key for key in _TARGET_KEYS if key in sample), None)
        if key is None:
            raise InputError(
                f"no target in a sample with keys {sorted(map(str, sample))}: name it one of {', '.join(_TARGET_KEYS)}"
            )
        inputs = {str(name): value for name, value in sample.items() if name != key}
        return Batch((), inputs, sample[key])
    if isinstance(sample, Sequence) and len(sample) >= 2:
        return Batch(tuple(sample[:-1]), {}, sample[-1])
    raise InputError(f"a sample must be (input, target) or a dict with a target, got {_describe(sample)}")


def _describe(sample: Any) -> str:
    if isinstance(sample, (tuple, list)):
        return f"{type(sample).__name__} of {len(sample)}: {', '.join(type(part).__name__ for part in sample)}"
    return type(sample).__name__


@dataclass(frozen=True)
class Task:
    """A model, its data and its loss: `loss(output, target)` returns one value per sample, in nats."""

    model: nn.Module
    data: Dataset | DataLoader | tuple | Any
    loss: PerSampleLoss = default_loss


def load_task(path: str | Path) -> Task:
    """Run a task file: plain Python with `model()`, `data()` and, where the default will not do, `loss(output,
    target)`.

    Raises InputError naming the file (and the line, where its own code raises) when it cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such task file; a task file is plain Python with model() and data()")
    names = _run(path, lambda: runpy.run_path(str(path)))
    for name in ("model", "data"):
        if not callable(names.get(name)):
            raise InputError(f"{path}: a task file must define {name}(); define `def {name}(): return ...`")
    loss = names.get("loss", default_loss)
    if not callable(loss):
        raise InputError(f"{path}: loss must be a function loss(output, target), got {type(loss).__name__}")
    if inspect.isfunction(loss) and not _takes_two(loss):
        raise InputError(f"{path}: loss must take two arguments, loss(output, target)")
    model = _run(path, names["model"])
    if not isinstance(model, nn.Module):
        raise InputError(f"{path}: model() must return a torch.nn.Module, got {type(model).__name__}")
    return Task(model, _run(path, names["data"]), loss)


def _takes_two(function: Callable) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    return True


def _run(path: Path, call: Callable[[], Any]) -> Any:
    """Run a piece of the user's task file; what it raises becomes one line naming the place."""
    try:
        return call()
    except InputError:
        raise
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno}: {error.msg}; a task file must be valid Python") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        said = str(error).strip().splitlines()
        raise InputError(
            f"{where}: the task file raised {type(error).__name__}: {said[0] if said else 'no message'}"
        ) from error
