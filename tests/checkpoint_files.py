"""Checkpoint files of every kind, for the tests that read them."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def net(seed: int = 0) -> nn.Module:
    """Two layers around a batch norm, whose buffers include an integer."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model[1].running_mean.fill_(0.25)
        model[1].num_batches_tracked.fill_(7)
    return model


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


class Runs:
    """Unpickled, it makes a file: the harmless stand-in for anything."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def legacy(content, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_shards(folder: Path, state: dict[str, Tensor], kind: str) -> Path:
    stem, suffix, save = {
        "safetensors": ("model", "safetensors", save_file),
        "bin": ("pytorch_model", "bin", torch.save),
    }[kind]
    folder.mkdir(exist_ok=True)
    weight_map = {}
    for number, half in enumerate((sorted(state)[:4], sorted(state)[4:]), start=1):
        shard = f"{stem}-{number:05d}-of-00002.{suffix}"
        save({key: state[key] for key in half}, folder / shard)
        weight_map |= dict.fromkeys(half, shard)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def same(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
