"""Everything that is no good checkpoint: one line, no other exception, no code run, the model as it was."""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_files import Tied, legacy, net, same, write_shards
from safetensors.torch import save_file
from torch import Tensor, nn

from samplers.errors import InputError
from slt.checkpoints import load_checkpoint, read_state_dict


def bad(write: Callable[[Path], Path | None], *words: str, model: Callable[[], nn.Module] = net):
    return write, words, model


def _state(**changes: Tensor | None) -> dict[str, Tensor]:
    """The net's state with entries replaced, added or (None) left out."""
    return {key: value for key, value in (net(1).state_dict() | changes).items() if value is not None}


def _saved(state: dict) -> Callable[[Path], None]:
    return lambda path: save_file(state, path)


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _edited(write: Callable[[Path], None], edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def written(path: Path) -> None:
        write(path)
        path.write_bytes(edit(path.read_bytes()))

    return written


def _cut(write: Callable[[Path], None], keep: float) -> Callable[[Path], None]:
    return _edited(write, lambda content: content[: int(keep * len(content))])


def _patched(write: Callable[[Path], None], old: bytes, new: bytes) -> Callable[[Path], None]:
    def patch(content: bytes) -> bytes:
        assert content.count(old) == 1
        return content.replace(old, new)

    return _edited(write, patch)


def _index(shard: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        index = write_shards(path, net(1).state_dict(), "safetensors")
        save_file(net(1).state_dict(), path.parent / "outside.safetensors")
        index.write_text(json.dumps({"weight_map": {"0.weight": shard}}))
        return index

    return write


def _folder_with(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for name in names:
            save_file(net(1).state_dict(), path / name)

    return write


def _rezipped(path: Path) -> None:
    torch.save(net(1).state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def _unchecked(path: Path) -> None:
    """A zip without checksums, whose pickle can be changed unnoticed."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(2, 3)}, path)
    finally:
        torch.serialization.set_crc32_options(True)


def _folder_record(content: bytes) -> bytes:
    """The directory's entry for the data marked as a folder: one bit that no checksum covers."""
    at = content.rindex(b"/data/0")
    attributes = content.rindex(b"PK\x01\x02", 0, at) + 38
    return content[:attributes] + b"\x10" + content[attributes + 1 :]


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "not a checkpoint")


def _script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/net.py"):
            archive.writestr("net/" + name, b"\x80\x02N.")


def _lost_key(path: Path) -> None:
    """A legacy file whose list of storages names one twice, so that the other would stay unfilled memory."""
    legacy({"a": torch.ones(4), "b": torch.zeros(4)}, path)
    content = path.read_bytes()
    start = content.rindex(b"]q")
    one, other = re.findall(rb"X....[0-9]+q", content[start:], flags=re.DOTALL)
    path.write_bytes(content[:start] + content[start:].replace(other, one))


NAN, INF = float("nan"), float("inf")
PICKLED = {"weight": Path("x")}
BAD = {
    "missing.pt": bad(lambda path: None, "no such file"),
    "device": bad(lambda path: Path(os.devnull), "neither a file nor a folder"),
    "empty.safetensors": bad(_bytes(b""), "is empty"),
    "empty.pt": bad(_bytes(b""), "is empty"),
    "empty-folder": bad(_folder_with(), "holds none of model.safetensors"),
    "series-folder": bad(_folder_with("step_1.safetensors", "step_2.safetensors"), "give one of its files", "step_2"),
    "text.pt": bad(_bytes(b"epoch,loss\n1,0.5\n" * 40), "neither a safetensors nor a torch file"),
    "image.pt": bad(_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200)), "neither a safetensors nor a torch file"),
    "image.safetensors": bad(_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200)), "not a readable safetensors file"),
    "random.pt": bad(_bytes(bytes((7 * i * i + 3) % 251 for i in range(999))), "neither a safetensors nor"),
    "random.ckpt": bad(_bytes(b"PK\x03\x04" + bytes(range(256))), "perhaps truncated or damaged"),
    "bare.pkl": bad(_bytes(pickle.dumps({"a": [1.0]})), "bare pickle", "could run code"),
    "cut.safetensors": bad(_cut(_saved(_state()), 0.9), "not a readable safetensors file"),
    "cut-header.safetensors": bad(_cut(_saved(_state()), 0.1), "not a readable safetensors file"),
    "cut.pt": bad(_cut(lambda path: torch.save(_state(), path), 0.9), "perhaps truncated or damaged"),
    "cut-legacy.pt": bad(_cut(lambda path: legacy(_state(), path), 0.9), "perhaps truncated or damaged"),
    "cut-legacy-pickle.pt": bad(_cut(lambda path: legacy(_state(), path), 0.1), "truncated or damaged"),
    "longer-legacy.pt": bad(
        _edited(lambda path: legacy(_state(), path), lambda content: content + b"more"),
        "its tensors and its data do not correspond",
    ),
    "lost-key.pt": bad(_lost_key, "its tensors and its data do not correspond"),
    "giant-header.safetensors": bad(_bytes((1 << 60).to_bytes(8, "little") + b'{"a":{}}'), "header too large"),
    "giant-tensor.safetensors": bad(
        _patched(_saved({"a": torch.ones(2, 3)}), b"[2,3]", b"[2,9]"), "not a readable safetensors file"
    ),
    "bit-in-zip.pt": bad(
        _patched(lambda path: torch.save({"a": torch.full((4,), 1.5)}, path), b"\x00\x00\xc0\x3f" * 4, bytes(16)),
        "Bad CRC-32",
    ),
    "long-stride.pt": bad(
        _patched(_unchecked, b"K\x03K\x01\x86", b"K\x7fK\x7f\x86"), "perhaps truncated or damaged", "not resizable"
    ),
    "long-storage.pt": bad(_patched(_unchecked, b"K\x06tq", b"K\xfftq"), "perhaps truncated or damaged"),
    "folder-record.pt": bad(_edited(lambda path: torch.save(_state(), path), _folder_record), "marked as a folder"),
    "deflated.pt": bad(_rezipped, "compressed zip archive"),
    "other-zip.pt": bad(_other_zip, "not one that torch.save wrote"),
    "script.pt": bad(_script, "TorchScript"),
    "objects.pt": bad(lambda path: torch.save(PICKLED, path), "would run code (pathlib.", "safetensors"),
    "objects-legacy.pt": bad(lambda path: legacy(PICKLED, path), "would run code (pathlib."),
    "lightning.ckpt": bad(
        lambda path: torch.save({"state_dict": _state(), "hyper_parameters": PICKLED}, path),
        "would run code (pathlib.",
        "['state_dict']",
    ),
    "module.pt": bad(lambda path: torch.save(net(), path), "would run code (torch.nn.modules"),
    "list.pt": bad(lambda path: torch.save([torch.ones(2)], path), "holds a list, not named tensors"),
    "no-tensors.pt": bad(lambda path: torch.save({"epoch": 3}, path), "holds no tensors"),
    "no-tensors.safetensors": bad(_saved({}), "holds no tensors"),
    "optimizer.pt": bad(lambda path: torch.save({"state": {0: {"m": torch.ones(2)}}}, path), "holds no tensors"),
    "numbered.pt": bad(lambda path: torch.save({0: torch.ones(2)}, path), "names a tensor by 0"),
    "two.pt": bad(
        lambda path: torch.save({"model": _state(), "state_dict": _state()}, path), "under each of state_dict, model"
    ),
    "sparse.pt": bad(lambda path: torch.save({"a": torch.ones(2).to_sparse()}, path), "not a plain dense tensor"),
    "meta.pt": bad(lambda path: torch.save({"a": torch.ones(2, device="meta")}, path), "not a plain dense tensor"),
    "missing-key.safetensors": bad(_saved(_state(**{"2.bias": None})), "lacks 1 of the model's 9 keys (2.bias [2])"),
    "extra-key.safetensors": bad(_saved(_state(head=torch.ones(2))), "has 1 key too many (head)"),
    "both.safetensors": bad(
        _saved(_state(**{"2.bias": None}, head=torch.ones(2))), "lacks 1", "(2.bias [2])", "has 1 key too many (head)"
    ),
    "all-keys.safetensors": bad(
        _saved({f"layer{i}": torch.ones(2) for i in range(9)}),
        "none of the model's keys: it holds layer0, layer1, layer2 and 6 more, the model 0.weight, 0.bias",
    ),
    "half-prefixed.safetensors": bad(
        _saved(_state(**{"2.bias": None}) | {"module.2.bias": torch.ones(2)}), "(2.bias [2])", "(module.2.bias)"
    ),
    "shape.safetensors": bad(_saved(_state(**{"2.bias": torch.ones(3)})), "2.bias is [3] where the model has [2]"),
    "rank.safetensors": bad(_saved(_state(**{"2.bias": torch.ones(1, 2)})), "2.bias is [1, 2] where the model has [2]"),
    "nan.safetensors": bad(_saved(_state(**{"2.bias": torch.tensor([NAN, 1.0])})), "2.bias has 1 of 2 values NaN"),
    "inf.safetensors": bad(_saved(_state(**{"2.bias": torch.tensor([INF, -INF])})), "2.bias has 2 of 2 values NaN"),
    "nan-half.safetensors": bad(_saved(_state(**{"2.bias": torch.tensor([NAN, 1.0]).half()})), "1 of 2 values NaN"),
    "nan-buffer.safetensors": bad(_saved(_state(**{"1.running_mean": torch.full((4,), NAN)})), "has 4 of 4"),
    "overflow.safetensors": bad(
        _saved(_state(**{"2.bias": torch.full((2,), 1e300, dtype=torch.float64)})), "torch.float64", "overflow"
    ),
    "integers.safetensors": bad(
        _saved(_state(**{"2.bias": torch.ones(2, dtype=torch.int8)})), "torch.int8 where the model has torch.float32"
    ),
    "fraction.safetensors": bad(
        _saved(_state(**{"1.num_batches_tracked": torch.tensor(7.5)})), "torch.float32 where the model has torch.int64"
    ),
    "narrow.safetensors": bad(
        _saved({"count": torch.tensor([300])}),
        "cannot hold its values",
        model=lambda: _with_buffer(torch.zeros(1, dtype=torch.uint8)),
    ),
    "untied.pt": bad(
        lambda path: torch.save({"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)}, path),
        "differ, but are one tied tensor",
        model=Tied,
    ),
    "traversal": bad(_index("../outside.safetensors"), "../outside.safetensors", "index's own folder"),
    "absolute": bad(_index("/etc/passwd"), "/etc/passwd", "index's own folder"),
    "backslash": bad(_index("..\\outside.safetensors"), "index's own folder"),
    "parent": bad(_index(".."), "which is missing"),
    "missing-shard": bad(_index("model-00003-of-00003.safetensors"), "model-00003-of-00003", "which is missing"),
    "wrong-shard": bad(_index("model-00002-of-00002.safetensors"), "lacks 0.weight"),
    "not-an-index.index.json": bad(_bytes(b'{"weights": []}'), "not an index of shards"),
    "list.index.json": bad(_bytes(b"[1, 2]"), "not an index of shards"),
    "numbers.index.json": bad(_bytes(b'{"weight_map": {"a": 3}}'), "not an index of shards"),
    "damaged.index.json": bad(_bytes(b'{"weight_map": {"a'), "not an index of shards"),
    "binary.index.json": bad(_bytes(b"\xff\xfe\x00"), "not an index of shards"),
    "deep.index.json": bad(_bytes(b"[" * 100_000), "not an index of shards"),
    "no-shards.index.json": bad(_bytes(b'{"weight_map": {}}'), "holds no tensors"),
    "one-shard": bad(
        lambda path: write_shards(path, _state(), "safetensors").with_name("model-00001-of-00002.safetensors"),
        "one shard of several",
    ),
    "lines\nin the name.pt": bad(_bytes(b"rubbish"), "neither a safetensors"),
    "lines-in-keys.safetensors": bad(_saved(_state(a=torch.ones(1)) | {"b\n\x1b[31m": torch.ones(1)}), "keys too many"),
    "x" * 300 + ".pt": bad(lambda path: None, "cannot be read (File name too long)"),
    "lazy.safetensors": bad(_saved({"weight": torch.ones(2, 2)}), "no shape yet", model=lambda: nn.LazyLinear(2)),
    "meta.safetensors": bad(
        _saved({"weight": torch.ones(2, 2)}), "meta device", model=lambda: nn.Linear(2, 2, False, device="meta")
    ),
    "expanded.safetensors": bad(
        _saved({"count": torch.ones(3)}),
        "cannot be written in place",
        model=lambda: _with_buffer(torch.ones(1).expand(3)),
    ),
    "no-slots.safetensors": bad(_saved({"weight": torch.ones(2, 2)}), "the model none", model=nn.ReLU),
}  # fmt: skip


def _with_buffer(buffer: Tensor) -> nn.Module:
    model = nn.Module()
    model.register_buffer("count", buffer)
    return model


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_the_model_alone(tmp_path, name):
    write, words, make = BAD[name]
    path = write(tmp_path / name) or tmp_path / name
    model = make()
    before = {} if name in ("lazy.safetensors", "meta.safetensors") else _copy(model)
    with pytest.raises(InputError) as caught:
        load_checkpoint(model, path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700
    shown = "".join(c if c.isprintable() else "?" for c in str(path))
    assert message.startswith(shown) or path.name.endswith("index.json")
    for word in words:
        assert word in message.removeprefix(shown)
    if before:
        assert same(model, before)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_an_unreadable_file_is_one_line(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read_state_dict(tmp_path / "a.safetensors")
