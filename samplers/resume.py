"""The state of a run as plain values and tensors, from which it goes on bit for bit."""

from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from samplers.adaptive_preconditioner import Adam, RMSprop
from samplers.batches import Batches
from samplers.constraints import Free, GradientHyperplane
from samplers.errors import InputError
from samplers.gradient import ControlVariate, Plain
from samplers.hmc import HMC
from samplers.kernel import Kernel
from samplers.low_rank import LowRank
from samplers.noise import ChainNoise
from samplers.noise_compensation import NoiseCompensation, Uncompensated
from samplers.posterior import LocalPosterior
from samplers.preconditioner import Diagonal, Fixed, Identity, Scaling
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT

# The parts a saved kernel may be made of: nothing else is built from what a file says.
_PARTS = {
    part.__name__: part
    for part in (
        SGLD, SGHMC, SGNHT, HMC, RMSprop, Adam, NoiseCompensation, Identity, Scaling, Diagonal, LowRank,
        Plain, ControlVariate, Free, GradientHyperplane, Uncompensated,
    )
}  # fmt: skip


def pack(value: Any) -> Any:
    """A kernel, or a part of one, as numbers, strings, tensors, lists and dicts.

    Raises InputError for a part that is not one of the toolkit's own.
    """
    if value is None or isinstance(value, (bool, int, float, str, Tensor)):
        return value
    kind = type(value)
    if _PARTS.get(kind.__name__) is not kind:
        raise InputError(f"a kernel with {kind.__name__} in it cannot be saved")
    if is_dataclass(value):
        content = {field.name: pack(getattr(value, field.name)) for field in fields(value)}
    elif isinstance(value, Fixed):
        content = {name: pack(part) for name, part in vars(value).items()}
    else:
        content = {}  # what it keeps, it computes again
        if getattr(value, "mask", None) is not None:
            raise InputError(f"a kernel with a mask in its {kind.__name__} cannot be saved")
    return {"part": kind.__name__, "content": content}


def unpack(packed: Any) -> Any:
    """What `pack` was given."""
    if not isinstance(packed, dict):
        return packed
    kind = _PARTS[packed["part"]]
    content = {name: unpack(part) for name, part in packed["content"].items()}
    if issubclass(kind, Fixed):
        made = kind.__new__(kind)  # as it was: not computed, and rounded, once more
        vars(made).update(content)
        return made
    return kind(**content)


def fingerprint(value: Any) -> str:
    """A digest of numbers, strings, tensors, containers and objects made of them; names that start with _ left out."""
    digest = blake2b(digest_size=16)
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        plain = value.detach().cpu().contiguous().flatten()
        digest.update(plain.view(torch.uint8).numpy() if plain.numel() else b"")
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        digest.update(type(value).__qualname__.encode())
        _feed(digest, {name: part for name, part in vars(value).items() if not name.startswith("_")})
    else:
        digest.update(f"{type(value).__name__} {value!r}".encode())


def save_run(run: Run, with_kernel: bool) -> dict[str, Any]:
    """All that a run carries: positions, kernel and its state, frozen chains, generators, the order of the data."""
    return {
        "kernel": pack(run.kernel) if with_kernel else None,
        "state": [leaf.cpu() if isinstance(leaf, Tensor) else leaf for leaf in tree_flatten(run.state)[0]],
        "position": run.position.cpu(),
        "frozen": run.frozen.cpu(),
        "steps": run.steps,
        "noise": run.noise.state(),
        "batches": run.batches.state(),
    }


def load_run(
    saved: dict[str, Any], posterior: LocalPosterior, kernel: Kernel | None, noise: ChainNoise, batches: Batches
) -> Run:
    """The run as it was saved. `kernel` stands in where none was saved."""
    device = posterior.centers.device
    kernel = unpack(_on(device, saved["kernel"])) if kernel is None else kernel
    run = Run(posterior, kernel, saved["position"].to(device), noise=noise, batches=batches)
    structure = tree_flatten(run.state)[1]
    run.state = tree_unflatten([_on(device, leaf) for leaf in saved["state"]], structure)
    run.freeze(saved["frozen"].to(device))
    run.steps = saved["steps"]
    noise.restore(saved["noise"])
    batches.restore(saved["batches"])
    return run


def _on(device: torch.device, packed: Any) -> Any:
    if isinstance(packed, dict):
        return {name: _on(device, part) for name, part in packed.items()}
    return packed.to(device) if isinstance(packed, Tensor) else packed
