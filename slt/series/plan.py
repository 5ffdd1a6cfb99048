"""The plan of a series: which checkpoints, at which scale, and the key of everything that each estimate depends on."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from samplers.errors import InputError
from samplers.resume import fingerprint
from slt.checkpoints import load_checkpoint
from slt.series.find import Candidate
from slt.series.folder import RunFolder, Scale
from slt.settings import Settings, choose_dtype, default_beta, default_gamma
from slt.task import DataSource, Task


@dataclass(frozen=True)
class Item:
    """A checkpoint of the plan: the key of everything its estimate depends on, or the problem that leaves it out."""

    candidate: Candidate
    weights: str = ""
    key: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    """One item for each step, the scale they share, and what is worth saying about both."""

    scale: Scale
    items: tuple[Item, ...]
    notes: tuple[str, ...]

    @property
    def reference(self) -> Item:
        """The item from which the scale was chosen."""
        known = (self.scale.reference, self.scale.weights)
        return next(item for item in self.items if (item.candidate.path.name, item.weights) == known)


def make_plan(
    task: Task,
    version: str,
    candidates: Iterable[Candidate],
    options: Settings,
    results: RunFolder,
    warm: bool = False,
) -> Plan:
    """Read and digest every candidate, settle the scale, and key the items. `version` is a digest of the task.

    `warm`: the other items take something over from the estimate of the reference, so that their keys depend on it.

    The scale recorded in `results` holds for as long as the checkpoint it was chosen from is in the series and n and
    the data are the same. Raises InputError where no candidate can be read, or where the options ask for another
    scale than the recorded one.
    """
    source = DataSource(task.data, dtype=choose_dtype(options.dtype, task.model))
    data = source.digest()
    model = copy.deepcopy(task.model)
    read: list[Item] = []
    gamma = 0.0
    for candidate in candidates:
        try:
            digest = candidate.weights or load_checkpoint(model, candidate.path).digest
            read.append(Item(candidate, digest))
            gamma = 0.0 if candidate.weights else _gamma(model)
        except InputError as error:
            read.append(Item(candidate, problem=str(error)))
    items, notes = _one_per_step(read)
    sound = [item for item in items if not item.problem]
    if not sound:
        raise InputError(items[0].problem)
    scale = results.scale()
    if scale is not None:
        here = (scale.reference, scale.weights) in {(item.candidate.path.name, item.weights) for item in sound}
        if here and (scale.n, scale.data) == (source.n, data):
            _refuse_another(scale, options, results.path)
        else:
            notes.append(f"{results.path} holds a series of other weights or data, of which nothing is used")
            scale = None
    if scale is None:
        reference = sound[-1]
        if reference is not read[-1] or not gamma:  # the last one read well was left out, or was not the last one read
            load_checkpoint(model, reference.candidate.path)
            gamma = _gamma(model)
        beta = default_beta(source.n) if options.beta is None else options.beta
        gamma = gamma if options.gamma is None else options.gamma
        scale = Scale(source.n, beta, gamma, reference.candidate.path.name, reference.weights, data)
    settings = {f.name: getattr(options, f.name) for f in fields(Settings)} | {"beta": scale.beta, "gamma": scale.gamma}
    common = fingerprint([version, data, settings])
    first = fingerprint([common, scale.weights])
    others = fingerprint([common, first]) if warm else common

    def key_of(weights: str) -> str:
        return first if weights == scale.weights else fingerprint([others, weights])

    keyed = [item if item.problem else replace(item, key=key_of(item.weights)) for item in items]
    return Plan(scale, tuple(keyed), tuple(notes))


def task_version(task: str | Path | Task) -> str:
    """A digest of a task file's text; of a Task, of its model's structure and its loss's code. What either imports is
    not in it.
    """
    if not isinstance(task, Task):
        return fingerprint(Path(task).read_bytes())
    loss = task.loss
    code = getattr(loss, "__code__", None)
    parts = [code.co_code, repr(code.co_consts)] if code else [loss]
    return fingerprint([repr(task.model), getattr(loss, "__qualname__", type(loss).__qualname__), *parts])


def _refuse_another(scale: Scale, options: Settings, path: Path) -> None:
    for name, given in (("gamma", options.gamma), ("beta", options.beta)):
        if given is not None and given != getattr(scale, name):
            raise InputError(
                f"{path}: holds a series at {name} = {getattr(scale, name):g}, and estimates at {given:g} do not "
                "compare with it; give another folder for the results"
            )


def _gamma(model: torch.nn.Module) -> float:
    """The default γ at the model's weights: those that are trained, or all of them if none is."""
    parameters = [p for p in model.parameters() if p.requires_grad] or list(model.parameters())
    return default_gamma(torch.cat([p.detach().reshape(-1).double() for p in parameters]))


def _one_per_step(items: list[Item]) -> tuple[list[Item], list[str]]:
    """Of several items of a step: the first that can be read, if all that can have the same weights; else none."""
    kept: dict[int, Item] = {}
    notes = []
    for item in items:
        step, name = item.candidate.step, item.candidate.path.name
        before = kept.get(step)
        if before is None:
            kept[step] = item
        elif item.problem:
            notes.append(f"step {step} is there twice: {item.problem}")
        elif not before.weights:
            notes.append(f"step {step} is there twice: {before.problem}")
            kept[step] = item
        elif item.weights == before.weights:
            notes.append(f"step {step} is there twice with the same weights; {name} is passed over")
        else:
            names = f"{before.candidate.path} and {name}"
            problem = f"{names}: both are step {step}, with different weights; remove one of them"
            kept[step] = Item(before.candidate, before.weights, problem=problem)
    return list(kept.values()), notes
