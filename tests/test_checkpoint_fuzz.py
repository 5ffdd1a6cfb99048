"""Corrupted checkpoints: an InputError on one line, or weights that are finite and of the right shape. Nothing else.

A flipped bit in the payload of a safetensors or a legacy file is beyond detection (they carry no checksum), so a load
may succeed; what it gives must still be something that could have been stored.
"""

import io
import json
import pickle
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest
import torch
from checkpoint_files import Runs, legacy, net, same, write_shards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from samplers.errors import InputError
from slt.checkpoints import load_checkpoint

FUZZ = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# (kind, where as a fraction, length, bytes): flip, truncate, overwrite, insert, delete, repeat
EDIT = st.tuples(
    st.sampled_from(["flip", "cut", "overwrite", "insert", "delete", "repeat"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 64),
    st.binary(min_size=1, max_size=16),
)
EDITS = st.lists(EDIT, min_size=1, max_size=4)


def corrupt(content: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    for kind, where, length, new in edits:
        at = int(where * len(content))
        before, after = content[:at], content[at:]
        if kind == "flip" and after:
            content = before + bytes([after[0] ^ (1 << length % 8)]) + after[1:]
        elif kind == "cut":
            content = before
        elif kind == "overwrite":
            content = before + new + after[len(new) :]
        elif kind == "insert":
            content = before + new + after
        elif kind == "delete":
            content = before + after[length:]
        elif kind == "repeat":
            content = before + after[:length] + after
    return content


@cache
def sound(kind: str) -> bytes:
    """The bytes of a good checkpoint, or for 'malicious' of one that would run code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound"
        if kind == "safetensors":
            save_file(net(1).state_dict(), path)
        elif kind == "zip":
            torch.save({"model": net(1).state_dict(), "epoch": 3}, path)
        else:
            legacy(net(1).state_dict(), path)
        return path.read_bytes()


def holds(path: Path) -> bool:
    """Load into a model and check what became of it. Whether the load succeeded."""
    model = net(2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    problem = ""
    try:
        load_checkpoint(model, path)
    except InputError as error:
        problem = str(error)
    if problem:
        assert problem.isprintable()
        assert problem.startswith(str(path.parent))
        assert same(model, before)
        return False
    after = model.state_dict()
    assert {key: value.shape for key, value in after.items()} == {key: value.shape for key, value in before.items()}
    assert all(bool(value.isfinite().all()) for value in after.values())
    return True


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_the_sound_file_loads(tmp_path, kind):
    (tmp_path / "a").write_bytes(sound(kind))
    assert holds(tmp_path / "a")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@FUZZ
@given(edits=EDITS)
def test_corrupted_bytes(tmp_path, kind, edits):
    (tmp_path / "a").write_bytes(corrupt(sound(kind), edits))
    holds(tmp_path / "a")


def weights_survive(path: Path) -> bool:
    model = net(2)
    try:
        load_checkpoint(model, path)
    except InputError:
        return True
    return same(model, net(1).state_dict())


@FUZZ
@given(edits=EDITS)
def test_damage_to_a_zip_never_changes_a_weight(tmp_path, edits):
    """Records carry checksums: a load that succeeds must give the very weights that were saved."""
    (tmp_path / "a").write_bytes(corrupt(sound("zip"), edits))
    assert weights_survive(tmp_path / "a")


@pytest.mark.slow
def test_no_single_bit_of_a_zip_changes_a_weight(tmp_path):
    content = sound("zip")
    for at in range(len(content)):
        for bit in range(8):
            (tmp_path / "a").write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
            assert weights_survive(tmp_path / "a"), (at, bit)


@FUZZ
@given(edits=EDITS)
def test_a_corrupted_header_of_plausible_length(tmp_path, edits):
    """Safetensors whose length field is right again, so that the damage reaches the header's parser."""
    content = sound("safetensors")
    length = int.from_bytes(content[:8], "little")
    header = corrupt(content[8 : 8 + length], edits)
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    holds(tmp_path / "a")


@FUZZ
@given(edits=EDITS)
def test_a_corrupted_pickle_under_right_checksums(tmp_path, edits):
    """A zip written anew around its damaged pickle, so that the damage reaches the unpickler."""
    with zipfile.ZipFile(io.BytesIO(sound("zip"))) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(name, corrupt(content, edits) if name.endswith("data.pkl") else content)
    holds(tmp_path / "a")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@FUZZ
@given(edits=EDITS)
def test_a_corrupted_malicious_pickle_runs_nothing(tmp_path, kind, edits):
    target = tmp_path / "ran"
    content = {"state_dict": net(1).state_dict(), "callbacks": Runs(target)}
    if kind == "legacy":
        legacy(content, tmp_path / "a")
        (tmp_path / "a").write_bytes(corrupt((tmp_path / "a").read_bytes(), edits))
    else:
        with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("a/data.pkl", corrupt(pickle.dumps(content["callbacks"], protocol=2), edits))
            archive.writestr("a/version", "3\n")
    holds(tmp_path / "a")
    assert not target.exists()


@FUZZ
@given(content=st.binary(max_size=400), head=st.sampled_from([b"", b"PK\x03\x04", sound("legacy")[:13], b"\x80\x02}"]))
def test_rubbish(tmp_path, content, head):
    (tmp_path / "a").write_bytes(head + content)
    assert not holds(tmp_path / "a")


@FUZZ
@given(edits=EDITS)
def test_a_corrupted_index(tmp_path, edits):
    index = write_shards(tmp_path, net(1).state_dict(), "safetensors")
    index.write_bytes(corrupt(index.read_bytes(), edits))
    holds(index)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(weight_map=JSON)
def test_an_index_of_any_json(tmp_path, weight_map):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert not holds(index)
