"""Reading checkpoint files without trusting them: safetensors, torch's zip and legacy files, shards, folders.

A checkpoint may come from anywhere, so nothing in it is run: pickles go through
`torch.load(weights_only=True)` and no other door. What comes out was all stored in the file: records are held
against their checksums and sizes, because a damaged file can otherwise yield tensors over memory that was
never filled.
"""

import io
import json
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from samplers.errors import InputError

FOLDER_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".index.json")

_NESTS = ("state_dict", "model", "model_state_dict")
_LEGACY_MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2).removeprefix(b"\x80\x02")
_SAVE_AGAIN = "copy or save it again"
_SAVE_PLAIN = "save model.state_dict() with safetensors or torch.save"


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The named tensors of a checkpoint, on the CPU, in the dtype they were stored in.

    Reads safetensors; torch files (`.pt`, `.pth`, `.bin`, Lightning's `.ckpt`) with the state dict at the top
    or under 'state_dict', 'model' or 'model_state_dict'; a sharded checkpoint through its `.index.json`; a
    Hugging Face folder. The format is recognised by content, not by the file's name. Non-tensor entries
    beside the tensors are left out.

    Raises InputError, one line, for anything else: a file that is missing, empty, truncated, damaged or no
    checkpoint; a pickle that would run code; a folder without a checkpoint; an index that names a missing
    file or one outside its folder.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about rubbish before it fails on it
            return _read(path)
    except InputError:
        raise
    except OSError as error:
        raise refuse(path, f"cannot be read ({error.strerror or error})") from error
    except Exception as error:  # damaged bytes make a parser raise nearly anything
        raise refuse(
            path, f"cannot be read, perhaps truncated or damaged ({_first_line(error)}); {_SAVE_AGAIN}"
        ) from error


def refuse(path: Path, problem: str) -> InputError:
    """The error `path: problem` on one printable line, whatever the names found in the file contain."""
    return InputError("".join(c if c.isprintable() else "?" for c in f"{path}: {problem}"))


def listed(names: Iterable[str], limit: int = 3) -> str:
    """`a, b, c and 7 more`."""
    every = [name if len(name) <= 80 else name[:77] + "..." for name in names]
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


def _read(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        return _read(_checkpoint_in(path))
    if not path.exists():
        raise refuse(path, "no such file or folder; give a checkpoint file or a folder that holds one")
    if not path.is_file():
        raise refuse(path, "is neither a file nor a folder; give a checkpoint file")
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    return _read_file(path)


def _checkpoint_in(folder: Path) -> Path:
    for name in FOLDER_NAMES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIXES))
    hint = f"give one of its files ({listed(others)})" if others else "give a checkpoint file"
    raise refuse(folder, f"the folder holds none of {', '.join(FOLDER_NAMES)}; {hint}")


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        shards = sorted(set(weight_map.values()))
        # A plain name in the index's own folder: anything else would let a downloaded index read other files.
        outside = [name for name in shards if Path(name).name != name or "\\" in name]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise refuse(
            index, "is not an index of shards: it needs a 'weight_map' of tensor names to file names"
        ) from error
    if outside:
        raise refuse(index, f"names {listed(outside)}: a shard must be a file in the index's own folder")
    tensors: dict[str, Tensor] = {}
    for name in shards:
        shard = index.parent / name
        if not shard.is_file():
            raise refuse(index, f"names the shard {listed([name])}, which is missing; fetch the whole checkpoint")
        held = _read_file(shard)
        keys = [key for key, value in weight_map.items() if value == name]
        absent = [key for key in keys if key not in held]
        if absent:
            raise refuse(shard, f"lacks {listed(absent)}, which {index.name} says it holds; fetch both again")
        tensors |= {key: held[key] for key in keys}
    return _named_tensors(index, tensors)


def _read_file(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise refuse(path, f"is empty; {_SAVE_AGAIN}")
    if head.startswith(b"PK\x03\x04"):
        loaded = _load_zip(path)
    elif head[:1] == b"\x80" and head[2:].startswith(_LEGACY_MAGIC):
        loaded = _load_legacy(path)
    elif head[8:9] == b"{" or path.suffix == ".safetensors":
        loaded = _load_safetensors(path)
    elif head[:1] == b"\x80":
        raise refuse(path, f"is a bare pickle, which could run code and is not read; {_SAVE_PLAIN}")
    else:
        what = "is neither a safetensors nor a torch file, or its first bytes are damaged"
        raise refuse(path, f"{what}; {_SAVE_PLAIN}")
    return _named_tensors(path, loaded)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    # Read, not mapped: rewriting a mapped file changes the weights under our hands, or kills the process.
    try:
        return dict(sorted(safetensors.torch.load(path.read_bytes()).items()))
    except Exception as error:
        problem = f"is not a readable safetensors file ({_first_line(error)}), perhaps truncated"
        raise refuse(path, f"{problem}; {_SAVE_AGAIN}") from error


def _load_zip(path: Path) -> Any:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = {record.filename.rpartition("/")[2] for record in records}
        if "data.pkl" not in names:
            raise refuse(path, f"is a zip archive, but not one that torch.save wrote; {_SAVE_PLAIN}")
        if "constants.pkl" in names:
            raise refuse(path, f"is a TorchScript program, which is code; {_SAVE_PLAIN}")
        if any(record.compress_type for record in records) or sum(record.file_size for record in records) > size:
            raise refuse(path, f"is a compressed zip archive, which torch.save does not write; {_SAVE_PLAIN}")
        for record in records:
            if record.external_attr & 0x10:  # marked as a folder: torch fills nothing in, and says nothing
                raise refuse(path, f"is damaged (a record is marked as a folder); {_SAVE_AGAIN}")
            if record.CRC:  # torch.save writes 0 where checksums were turned off
                with archive.open(record) as stream:
                    while stream.read(1 << 20):
                        pass
    return _load_pickle(path, path)


def _load_legacy(path: Path) -> Any:
    content = io.BytesIO(path.read_bytes())  # in memory, torch does not try the file as a tar archive first
    loaded = _load_pickle(path, content)
    left = len(content.getbuffer()) - content.tell()
    # Storages are filled from the end of the file in the order of a list of keys. One that a damaged list
    # does not name would stay unfilled: its bytes are then left over, or another storage is named twice.
    content.seek(0)
    for _ in range(4):  # magic number, protocol, system, the object itself
        for _ in pickletools.genops(content):
            pass
    listing = list(pickletools.genops(content))
    keys = [argument for _, argument, _ in listing if isinstance(argument, str)]
    if left or len(set(keys)) < len(keys) or any("GET" in operation.name for operation, _, _ in listing):
        raise refuse(path, f"is damaged (its tensors and its data do not correspond); {_SAVE_AGAIN}")
    return loaded


def _load_pickle(path: Path, file: Path | io.BytesIO) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise refuse(path, f"is damaged, or pickles more than tensors; {_SAVE_PLAIN}") from error
        only = "['state_dict']" if path.suffix == ".ckpt" else "state dict"
        problem = f"unpickling it would run code ({listed([wanted[1]])}), so it is refused"
        advice = f"where you trust it, load it with weights_only=False and save its {only} alone, as safetensors"
        raise refuse(path, f"{problem}; {advice}") from error


def _named_tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise refuse(path, f"holds a {type(loaded).__name__}, not named tensors; {_SAVE_PLAIN}")
    nests = [key for key in _NESTS if _holds_tensors(loaded.get(key))]
    if len(nests) > 1:
        raise refuse(path, f"holds tensors under each of {', '.join(nests)}; save only the one that is meant")
    if nests:
        return _named_tensors(path, loaded[nests[0]])
    tensors = {key: value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise refuse(path, f"holds no tensors; {_SAVE_PLAIN}")
    for key, value in tensors.items():
        if not isinstance(key, str):
            raise refuse(path, f"names a tensor by {key!r:.40}, not by a string; {_SAVE_PLAIN}")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_nested:
            raise refuse(path, f"{listed([key])} is not a plain dense tensor; save it as one, with its values")
    return {key: value.detach().resolve_conj().resolve_neg() for key, value in tensors.items()}


def _holds_tensors(entry: Any) -> bool:
    return isinstance(entry, Mapping) and (
        any(isinstance(value, Tensor) for value in entry.values())
        or any(_holds_tensors(entry.get(key)) for key in _NESTS)
    )


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text if len(text) <= 120 else text[:117] + "..."
