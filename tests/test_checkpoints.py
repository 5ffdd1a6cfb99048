import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_files import Runs, Tied, legacy, net, same, write_shards
from safetensors.torch import save_file
from torch import nn

from samplers.errors import InputError
from slt.checkpoints import checkpoint_step, load_checkpoint, read_state_dict


class Masked(nn.Module):
    """A persistent mask of -inf, as hand-written attention has."""

    def __init__(self, fill: float = float("-inf")):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("mask", torch.full((2, 2), fill).triu(1))


LIGHTNING = {"epoch": 3, "global_step": 1200, "pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 0.1}}
WRITERS: dict[str, Callable[[Path, dict], Path | None]] = {
    "plain.pt": lambda path, state: torch.save(state, path),
    "nested.pth": lambda path, state: torch.save({"model": state, "epoch": 1, "rng": torch.arange(3)}, path),
    "nested.bin": lambda path, state: torch.save({"model_state_dict": state, "optimizer": {"state": {}}}, path),
    "deep.pt": lambda path, state: torch.save({"model": {"state_dict": state}}, path),
    "legacy.pt": lambda path, state: legacy(state, path),
    "lightning.ckpt": lambda path, state: torch.save(LIGHTNING | {"state_dict": state}, path),
    "config.ckpt": lambda path, state: torch.save({"state_dict": state, "model": {"width": 4}}, path),
    "one.safetensors": lambda path, state: save_file(state, path),
    "misnamed.bin": lambda path, state: save_file(state, path),
    "folder": lambda path, state: (path.mkdir(), save_file(state, path / "model.safetensors"))[0],
    "shards": lambda path, state: write_shards(path, state, "safetensors").parent,
    "index": lambda path, state: write_shards(path, state, "safetensors"),
    "bin-shards": lambda path, state: write_shards(path, state, "bin").parent,
    "bin-folder": lambda path, state: (path.mkdir(), torch.save(state, path / "pytorch_model.bin"))[0],
}


@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_gives_back_the_same_weights_and_digest(tmp_path, kind):
    state = net(1).state_dict()
    path = WRITERS[kind](tmp_path / kind, state) or tmp_path / kind
    assert {key: value.tolist() for key, value in read_state_dict(path).items()} == {
        key: value.tolist() for key, value in state.items()
    }
    model = net(2)
    found = load_checkpoint(model, path)
    assert same(model, state)
    save_file(state, tmp_path / "reference.safetensors")
    reference = load_checkpoint(net(3), tmp_path / "reference.safetensors")
    assert (found.digest, found.keys, found.dtype) == (reference.digest, len(state), torch.float32)


def test_digest_tells_weights_apart(tmp_path):
    state = net(1).state_dict()
    digests = set()
    for number, change in enumerate((0.0, 1e-7)):
        state["0.bias"] = state["0.bias"] * (1 + change)
        save_file(state, tmp_path / f"{number}.safetensors")
        digests.add(load_checkpoint(net(), tmp_path / f"{number}.safetensors").digest)
    assert len(digests) == 2


PREFIXES = ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module.", "net.", "model._orig_mod.net."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_common_prefix_is_understood(tmp_path, prefix):
    state = net(1).state_dict()
    save_file({prefix + key: value for key, value in state.items()}, tmp_path / "a.safetensors")
    model = net(2)
    load_checkpoint(model, tmp_path / "a.safetensors")
    assert same(model, state)


def test_a_compiled_submodule_is_understood_on_either_side(tmp_path):
    state = net(1).state_dict()
    compiled = {key.replace("0.", "0._orig_mod.", 1): value for key, value in state.items()}
    save_file(compiled, tmp_path / "compiled.safetensors")
    save_file(state, tmp_path / "plain.safetensors")
    plain_model, compiled_model = net(2), net(3)
    wrapper = nn.Module()
    wrapper._orig_mod = compiled_model[0]
    compiled_model[0] = wrapper
    one = load_checkpoint(plain_model, tmp_path / "compiled.safetensors")
    other = load_checkpoint(compiled_model, tmp_path / "plain.safetensors")
    assert same(plain_model, state)
    assert same(compiled_model, compiled)
    assert one.digest == other.digest


def test_a_prefix_is_kept_where_the_model_has_it_too(tmp_path):
    model, other = nn.ModuleDict({"model": nn.Linear(2, 1)}), nn.ModuleDict({"model": nn.Linear(2, 1)})
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    load_checkpoint(other, tmp_path / "a.safetensors")
    assert same(other, model.state_dict())


def test_tied_weights_may_be_stored_once(tmp_path):
    first, second = Tied(), Tied()
    save_file({"embed.weight": first.embed.weight.detach()}, tmp_path / "once.safetensors")
    torch.save(first.state_dict(), tmp_path / "twice.pt")
    once = load_checkpoint(second, tmp_path / "once.safetensors")
    assert torch.equal(second.head.weight, first.embed.weight)
    assert second.head.weight is second.embed.weight
    twice = load_checkpoint(Tied(), tmp_path / "twice.pt")
    assert (once.keys, twice.keys, once.digest) == (1, 2, twice.digest)


def test_num_batches_tracked_may_be_missing(tmp_path):
    state = net(1).state_dict()
    del state["1.num_batches_tracked"]
    save_file(state, tmp_path / "a.safetensors")
    model = net(2)
    load_checkpoint(model, tmp_path / "a.safetensors")
    assert model[1].num_batches_tracked.item() == 7
    assert torch.equal(model[0].weight, state["0.weight"])


def test_a_mask_of_infinities_passes_only_where_the_model_has_the_same(tmp_path):
    save_file(Masked().state_dict(), tmp_path / "a.safetensors")
    load_checkpoint(Masked(), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="mask has 1 of 4 values"):
        load_checkpoint(Masked(fill=0.0), tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_cast_to_the_model_and_their_dtype_is_told(tmp_path, dtype):
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in net(1).state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    model = net(2)
    assert load_checkpoint(model, tmp_path / "a.safetensors").dtype == dtype
    assert same(model, {key: value.to(model.state_dict()[key].dtype) for key, value in state.items()})


def test_the_coarsest_dtype_is_told(tmp_path):
    state = net(1).state_dict()
    state["0.weight"] = state["0.weight"].bfloat16()
    state["2.weight"] = state["2.weight"].half()
    save_file(state, tmp_path / "a.safetensors")
    assert load_checkpoint(net(), tmp_path / "a.safetensors").dtype == torch.bfloat16


def test_loading_keeps_the_parameters_themselves(tmp_path):
    save_file(net(1).state_dict(), tmp_path / "a.safetensors")
    model = net(2)
    model[0].weight.requires_grad_(False)
    model.train()
    before = [(id(p), p.requires_grad) for p in model.parameters()]
    load_checkpoint(model, tmp_path / "a.safetensors")
    assert [(id(p), p.requires_grad) for p in model.parameters()] == before
    assert model.training


def test_tensors_do_not_follow_a_file_that_is_rewritten(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(3)}, path)
    held = read_state_dict(path)
    with path.open("r+b") as file:
        file.truncate(0)
    assert torch.equal(held["a"], torch.ones(3))


def test_zip_without_checksums_is_read(tmp_path):
    state = net(1).state_dict()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    model = net(2)
    load_checkpoint(model, tmp_path / "a.pt")
    assert same(model, state)


@pytest.mark.parametrize("writer", ["zip", "legacy", "ckpt", "bare", "shard"])
def test_a_pickle_that_would_run_code_does_not(tmp_path, writer):
    target = tmp_path / "ran"
    content = {"state_dict": net(1).state_dict(), "callbacks": Runs(target)}
    path = tmp_path / ("a.ckpt" if writer == "ckpt" else "a.pt")
    if writer == "legacy":
        legacy(content, path)
    elif writer == "bare":
        path.write_bytes(pickle.dumps(Runs(target)))
    elif writer == "shard":
        torch.save(content, tmp_path / "pytorch_model-1-of-1.bin")
        path = tmp_path / "pytorch_model.bin.index.json"
        path.write_text(json.dumps({"weight_map": {"0.weight": "pytorch_model-1-of-1.bin"}}))
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=r"r?un code"):
        load_checkpoint(net(), path)
    assert not target.exists()


def test_the_malicious_pickle_is_one(tmp_path):
    """The test above would pass with a harmless file too: unpickled in the usual way, this one does run."""
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step_000100.safetensors", 100),
        ("runs/digits/step_010000.safetensors", 10000),
        ("step_0.safetensors", 0),
        ("checkpoint-500/", 500),
        ("checkpoint-500/model.safetensors", 500),
        ("checkpoint-500/pytorch_model.bin.index.json", 500),
        ("checkpoint-500/model-00001-of-00002.safetensors", 500),
        ("epoch=3-step=1200.ckpt", 1200),
        ("epoch=3-step=1200-v1.ckpt", 1200),
        ("epoch=3-val_loss=0.25.ckpt", 3),
        ("epoch_12.pt", 12),
        ("model_1200.pt", 1200),
        ("1200.pth", 1200),
        ("ckpt-77.pt", 77),
        ("global_step143000", 143000),
        ("step1000-tokens4B", 1000),
        ("iter_0002000.pth", 2000),
        ("Step-5.pt", 5),
        ("step_1k.pt", None),
        ("mlp_64_32_10.pt", None),
        ("resnet18.pt", None),
        ("last.ckpt", None),
        ("run_7/last.ckpt", None),
        ("model.safetensors", None),
        ("footstep5.pt", None),
    ],
)
def test_step_from_the_name(name, step, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # a bare Hugging Face name is read against the folder it is in
    if name == "model.safetensors":
        name = str(Path("/nowhere") / name)
    assert checkpoint_step(name) == step


def test_step_is_reported(tmp_path):
    save_file(net(1).state_dict(), tmp_path / "step_000042.safetensors")
    found = load_checkpoint(net(), tmp_path / "step_000042.safetensors")
    assert (found.step, found.path) == (42, tmp_path / "step_000042.safetensors")
