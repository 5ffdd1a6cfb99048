"""Run files: what `--resume` writes and reads, so that a killed run goes on bit for bit from its last saved block."""

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from samplers.batches import Batches
from samplers.coupling import Start
from samplers.engine import ModuleLoss
from samplers.errors import InputError
from samplers.noise import ChainNoise, data_generator
from samplers.posterior import LocalPosterior
from samplers.resume import fingerprint, load_run, save_run
from samplers.run import Run
from samplers.trace import ARRAYS, Trace
from samplers.warmup import WarmedUp
from slt.files import check_writable, written_whole
from slt.settings import Settings

FORMAT = "slt-run-3"
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)  # what wrong content raises
WHEN_TO_STOP = ("draws", "target_error", "max_steps", "max_seconds")  # may change between the parts of a run


class RunFile:
    """One file that holds one run: written whole or not at all, and read without executing anything in it.

    Raises InputError where the file cannot be written, is no run file, or was made with other settings, weights or
    data; settings that only say when to stop may differ.
    """

    def __init__(self, path: str | Path, function: ModuleLoss, data: str, options: Settings):
        check_writable(path)
        self.path, self._options = Path(path), options
        self._memory, self._losses = function.budget, [float("nan")]
        settings = {
            f"setting {field.name}": fingerprint(getattr(options, field.name))
            for field in fields(options)
            if field.name not in WHEN_TO_STOP
        }
        weights = {**function.model.state_dict(), "w*": function.center}
        self._key = {**settings, "weights": fingerprint(weights), "data": data}

    def load(self, posterior: LocalPosterior, center_loss: float) -> tuple[str, str, WarmedUp, Trace | None] | None:
        """Sampler, preconditioner, run and draws so far; None where nothing was saved yet."""
        self._losses = [center_loss, _elsewhere(posterior)]
        if not self.path.exists():
            return None
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(saved, dict) or saved["format"] != FORMAT:
                raise KeyError("format")
            other = self._changed(saved)
        except (OSError, *_DAMAGE, EOFError, pickle.UnpicklingError) as error:
            raise InputError(f"{self.path}: is not a run file of this version; give another path") from error
        if other:
            raise InputError(f"{self.path}: was made with another {', '.join(other)}; give another path or remove it")
        try:
            return self._restored(saved, posterior)
        except _DAMAGE as error:
            raise InputError(f"{self.path}: is damaged; give another path or remove it") from error

    def _changed(self, saved: dict[str, Any]) -> list[str]:
        """What is not as it was when the file was made."""
        other = [name for name, value in self._key.items() if saved["key"].get(name) != value]
        before = [float(value) for value in saved["losses"]]
        same = all(abs(was - now) <= 1e-6 * max(1e-9, abs(now)) for was, now in zip(before, self._losses, strict=True))
        return other or ([] if same else ["model or loss"])

    def _restored(self, saved: dict[str, Any], posterior: LocalPosterior) -> tuple[str, str, WarmedUp, Trace | None]:
        options, device = self._options, posterior.centers.device
        self._memory.size = saved["memory"]
        run = load_run(
            saved["run"],
            posterior,
            None if isinstance(options.sampler, str) else options.sampler,
            ChainNoise(options.seed, options.chains, device),
            Batches(int(posterior.n), saved["batch_size"], options.seed),
        )
        burn_in, trace = _trace(saved["burn_in"]), _trace(saved["trace"])
        start = _unpacked(saved["start"], run)
        ready = WarmedUp(run, saved["step_size"], saved["gradients"], saved["gradients_per_step"], burn_in, start)
        return saved["sampler"], saved["preconditioner"], ready, trace

    def save(self, sampler: str, preconditioner: str, ready: WarmedUp, trace: Trace | None) -> None:
        """Put the state of the run in the place of what was saved before."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "key": self._key,
            "losses": self._losses,
            "sampler": sampler,
            "preconditioner": preconditioner,
            "step_size": ready.step_size,
            "gradients": ready.gradients,
            "gradients_per_step": ready.gradients_per_step,
            "batch_size": ready.run.batches.batch_size,
            "memory": self._memory.size,
            "run": save_run(ready.run, with_kernel=isinstance(self._options.sampler, str)),
            "burn_in": _tensors(ready.burn_in),
            "start": _packed(ready.start),
            "trace": _tensors(trace),
        }
        with written_whole(self.path) as partial:
            torch.save(content, partial)


def _elsewhere(posterior: LocalPosterior) -> float:
    """L away from w*, where losses differ that agree at w*, such as those of a perfect fit."""
    center = posterior.centers[:1]
    step = torch.randn(center.shape, generator=data_generator(5), dtype=torch.float64).to(center)
    return float(posterior.loss.value(center + step / float(posterior.gamma.max()) ** 0.5)[0])


def _tensors(trace: Trace | None) -> dict[str, Tensor] | None:
    if trace is None:
        return None
    arrays = {name: getattr(trace, name) for name in ARRAYS}
    return {name: torch.from_numpy(array) for name, array in arrays.items() if array is not None}


def _trace(saved: dict[str, Tensor] | None) -> Trace | None:
    if saved is None:
        return None
    arrays: dict[str, Any] = {name: array.numpy() for name, array in saved.items()}
    return Trace(**arrays)


def _packed(start: Start | None) -> dict[str, Any] | None:
    if start is None:
        return None
    leaves = [leaf.cpu() if isinstance(leaf, Tensor) else leaf for leaf in tree_flatten(start.state)[0]]
    return {"state": leaves, "noise": start.noise, "batches": start.batches, "chains": start.chains}


def _unpacked(saved: dict[str, Any] | None, run: Run) -> Start | None:
    if saved is None:
        return None
    device = run.position.device
    leaves = [leaf.to(device) if isinstance(leaf, Tensor) else leaf for leaf in saved["state"]]
    state = tree_unflatten(leaves, tree_flatten(run.state)[1])
    return Start(state, saved["noise"], saved["batches"], saved["chains"])
