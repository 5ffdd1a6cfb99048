"""Checkpoints into models: whose key is whose, what is stored against what is expected, all or nothing."""

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from slt.checkpoint_formats import FOLDER_NAMES, SUFFIXES, listed, read_state_dict, refuse

__all__ = ["Checkpoint", "checkpoint_step", "load_checkpoint", "read_state_dict"]

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COMPLEX = (torch.complex64, torch.complex128)
_INTEGRAL = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_KINDS = (_FLOATING, _COMPLEX, _INTEGRAL)

_MAX_PREFIXES = 8
_NUMBER = r"[-_= ]?([0-9]+)(?![0-9A-Za-z]|\.[0-9])"
_STEP_LABELS = [
    re.compile(r"(?<![a-z])" + label + _NUMBER, re.IGNORECASE)
    for label in (r"(?:global[-_]?)?steps?", r"iter(?:ation)?s?", r"(?:checkpoint|ckpt)")
]
_EPOCH_LABEL = re.compile(r"(?<![a-z])epochs?" + _NUMBER, re.IGNORECASE)


@dataclass(frozen=True)
class Checkpoint:
    """What was loaded: where from, at which training step, and which weights exactly.

    `step` is read off the name (None where it tells none). `dtype` is the coarsest floating dtype among the
    stored tensors: below float32, the weights were rounded before they came here. `keys` counts the
    checkpoint's entries that were used. `digest` is the SHA-256 of names, dtypes, shapes and values as
    stored, under the model's names, tied weights once: the same weights have the same digest whatever the
    file format or prefix.
    """

    path: Path
    step: int | None
    dtype: torch.dtype
    keys: int
    digest: str


def load_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> Checkpoint:
    """Fill `model`'s parameters and persistent buffers, in place, from the checkpoint at `path`.

    Strict: each of the model's keys must be there in its shape, and nothing else. Understood and forgiven are
    a prefix shared by all keys ('module.', '_orig_mod.', 'model.', a Lightning attribute's name, or several
    in a row) where stripping it makes the keys match; '_orig_mod.' anywhere; one of several tied weights left
    out; 'num_batches_tracked' left out. Values are cast to the model's dtype; device and requires_grad stay.
    Values that are not finite are refused, save in a buffer that the model fills in the same way (an
    attention mask of -inf).

    Raises InputError, one line, and leaves the model as it was; see `read_state_dict` for what can be read.
    """
    path = Path(path)
    found = read_state_dict(path)
    slots = _slots(model, path)
    source = _match_keys(path, slots, found)
    _check_shapes(path, source, slots, found)
    buffers = {id(buffer) for buffer in model.buffers()}
    values: dict[str, Tensor] = {}
    first_name: dict[int, str] = {}  # tied names share one slot
    for name in sorted(source):
        slot = slots[name]
        values[name] = _cast(path, source[name], found[source[name]], slot, is_buffer=id(slot) in buffers)
        first = first_name.setdefault(id(slot), name)
        if first != name and not torch.equal(values[first], values[name]):
            tied = f"{source[first]} and {source[name]} differ, but are one tied tensor in the model"
            raise refuse(path, f"{tied}; make model() build the network that was saved")
    with torch.no_grad():
        for name in first_name.values():
            slots[name].copy_(values[name])
    filled = set(first_name.values())
    stored = {plain: found[source[name]] for plain, name in _plain_names(slots).items() if name in filled}
    dtype = max((tensor.dtype for tensor in stored.values()), key=_coarseness)
    return Checkpoint(path, checkpoint_step(path), dtype, len(source), _digest(stored))


def checkpoint_step(path: str | os.PathLike[str]) -> int | None:
    """The training step that a checkpoint's name tells, or None.

    In order: a number labelled step, iteration, checkpoint or ckpt (`step_000100.safetensors`,
    `epoch=3-step=1200.ckpt`, `checkpoint-500`); the only bare number (`model_1200.pt`); a number labelled
    epoch. A Hugging Face file name is passed over for its folder's (`checkpoint-500/model.safetensors`).
    Several bare numbers tell nothing (`mlp_64_32_10.pt`).
    """
    path = Path(path).absolute()
    if path.name in FOLDER_NAMES or re.search(r"-[0-9]+-of-[0-9]+\.", path.name):
        path = path.parent
    name = path.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    for label in _STEP_LABELS:
        if labelled := label.findall(name):
            return int(labelled[-1])
    bare = [word for word in re.split(r"[^0-9A-Za-z]", name) if re.fullmatch(r"[0-9]+", word)]
    if len(bare) == 1:
        return int(bare[0])
    epochs = _EPOCH_LABEL.findall(name)
    return int(epochs[-1]) if epochs else None


def _slots(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The model's own tensors by key, each one that can be written in place."""
    slots: dict[str, Tensor] = dict(model.state_dict(keep_vars=True))
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for name, slot in slots.items():
        if id(slot) not in own:
            why = "is state that is neither a parameter nor a buffer"
        elif is_lazy(slot):
            why = "has no shape yet: run one forward pass in model()"
        elif slot.is_meta:
            why = "is on the meta device: build the model with memory for its weights"
        elif slot.is_inference() or _is_expanded(slot):
            why = "cannot be written in place (an inference or expanded tensor): clone it in model()"
        else:
            continue
        raise refuse(path, f"cannot be loaded, because the model's {listed([name])} {why}")
    return slots


def _is_expanded(tensor: Tensor) -> bool:
    return any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True))


def _plain_names(keys: Collection[str]) -> dict[str, str]:
    """{name: key}, the name without the components that torch.compile puts in."""
    names = {".".join(part for part in key.split(".") if part != "_orig_mod"): key for key in keys}
    return names if len(names) == len(keys) else {key: key for key in keys}


def _strippings(keys: Collection[str]) -> Iterator[dict[str, str]]:
    """{name: key}, first as stored, then without the first component for as long as all names share it."""
    names = _plain_names(keys)
    for _ in range(_MAX_PREFIXES):
        yield names
        if any("." not in name for name in names) or len({name.partition(".")[0] for name in names}) > 1:
            return
        names = {name.partition(".")[2]: key for name, key in names.items()}


def _match_keys(path: Path, slots: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, str]:
    """{the model's key: the checkpoint's key}, or a refusal that names what is missing and what is extra."""
    wanted = _plain_names(slots)
    best: dict[str, str] = {}
    for names in _strippings(found):
        held = {id(slots[wanted[name]]) for name in names if name in wanted}
        missing = [
            name
            for name, key in wanted.items()
            if name not in names and id(slots[key]) not in held and not name.endswith("num_batches_tracked")
        ]
        extra = [key for name, key in names.items() if name not in wanted]
        if held and not missing and not extra:
            return {wanted[name]: key for name, key in names.items()}
        if not best or len(names.keys() & wanted) > len(best.keys() & wanted):
            best, lacks, unknown = names, missing, extra
    advice = "make model() build the network that was saved"
    if re.search(r"-[0-9]+-of-[0-9]+\.", path.name):
        advice = "this is one shard of several: give the folder or the index instead"
    if not best.keys() & wanted:
        ours = listed(slots) or "none"
        raise refuse(path, f"has none of the model's keys: it holds {listed(found)}, the model {ours}; {advice}")
    problems = []
    if lacks:
        expected = listed(f"{wanted[name]} {list(slots[wanted[name]].shape)}" for name in lacks)
        problems.append(f"lacks {len(lacks)} of the model's {len(slots)} keys ({expected})")
    if unknown:
        problems.append(f"has {_keys(unknown)} too many ({listed(unknown)})")
    raise refuse(path, f"{' and '.join(problems)}; {advice}")


def _keys(names: list[str]) -> str:
    return f"{len(names)} key{'s' if len(names) > 1 else ''}"


def _check_shapes(
    path: Path, source: Mapping[str, str], slots: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    wrong = [
        f"{key} is {list(found[key].shape)} where the model has {list(slots[name].shape)}"
        for name, key in source.items()
        if found[key].shape != slots[name].shape
    ]
    if wrong:
        raise refuse(path, f"wrong shape: {listed(wrong)}; make model() build the network that was saved")


def _cast(path: Path, key: str, value: Tensor, slot: Tensor, *, is_buffer: bool) -> Tensor:
    """The stored value in the slot's dtype, without loss of meaning: finite, and integers exactly."""
    kept = f"{listed([key])} is stored as {value.dtype} where the model has {slot.dtype}"
    if not any(value.dtype in kind and slot.dtype in kind for kind in _KINDS):
        raise refuse(path, f"{kept}; save the weights as float32, or as the model's own dtype")
    cast = value.to(slot.dtype)
    if value.dtype in _INTEGRAL:
        if not torch.equal(cast.to(value.dtype), value):
            raise refuse(path, f"{kept}, which cannot hold its values; use one dtype in both")
        return cast
    bad = int((~value.isfinite()).sum())
    if bad and not (is_buffer and _same_gaps(cast, slot.detach().cpu())):
        what = f"{listed([key])} has {bad} of {value.numel()} values NaN or infinite"
        raise refuse(path, f"{what}; use a checkpoint from before training diverged, or save it again")
    if not bad and not bool(cast.isfinite().all()):
        raise refuse(path, f"{kept}, which its values overflow; build the model in {value.dtype}")
    return cast


def _same_gaps(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are non-finite in the same places, with the same infinities and no NaN."""
    gaps = ~one.isfinite()
    return torch.equal(gaps, ~other.isfinite()) and torch.equal(one[gaps], other[gaps])


def _coarseness(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps if dtype in _FLOATING + _COMPLEX else 0.0


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
