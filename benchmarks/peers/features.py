"""What a library does and does not do, found out by running it: a function for each statement that holds or not.

Every probe runs the library through its adaptor on the problem of probing.py, and reads off what happened.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import groupby
from typing import Any

import numpy as np
import torch

from benchmarks.peers.probing import (
    N_BETA,
    SAMPLES,
    SPEC,
    LibraryFailedError,
    PeerModule,
    Watched,
    ask,
    exact,
    new,
    silence,
)

NUTS = "pyro-ppl"  # takes a function of the weights and all the data; chooses its own step size
FIXED_NUTS = {"step_size": 0.1, "adapt_step_size": False, "adapt_mass_matrix": False}
CLIFF = 0.7  # about as many chains meet it as do not
TOO_LARGE = 2.0 / (N_BETA + 1.0)  # ε, half of what the steepest direction can bear: it comes out twice too wide
NEAR_ENOUGH = 0.15  # relative error of λ̂, five times what the draws of that probe allow


@dataclass(frozen=True)
class Finding:
    """Whether the statement holds (None: the question does not arise), in a word, with the evidence."""

    holds: bool | None
    word: str
    evidence: str = ""


def no_question(why: str) -> Finding:
    return Finding(None, "–", why)


def of(holds: bool, evidence: str = "", word: str = "") -> Finding:
    return Finding(holds, word or ("yes" if holds else "no"), evidence)


def any_model(peer: PeerModule) -> Finding:
    """A library that needs samples as token ids is offered the pairs (x, y) in their place."""
    if peer.PACKAGE == NUTS:
        return no_question("it takes a function of the weights")
    outcome, numbered = ask(peer, Watched()), getattr(peer, "numbered", None)
    if outcome.error or numbered is None:
        return of(not outcome.error, outcome.error)
    pairs: Any = [(torch.zeros(3), torch.zeros(1)) for _ in range(SAMPLES)]
    peer.numbered = lambda count: pairs  # type: ignore[attr-defined]
    try:
        error = ask(peer, Watched()).error
    finally:
        peer.numbered = numbered  # type: ignore[attr-defined]
    return of(not error, f"pairs (x, y): {error}; a loss that looks samples up by token id runs", "as token ids")


def eval_mode(peer: PeerModule) -> Finding:
    if peer.PACKAGE == NUTS:
        return no_question("it takes a function of the weights")
    outcomes = [ask(peer, Watched().train(handed)) for handed in (True, False)]
    modes = [{call.training for call in outcome.calls} for outcome in outcomes if outcome.answer]
    if modes == [{False}, {False}]:
        return of(True)
    if modes == [{True}, {False}]:
        return of(False, "in whatever mode the model is given", "as given")
    return of(False, f"in training mode{', even where the model is given in eval mode' * (True in modes[1])}")


def left_alone(peer: PeerModule) -> Finding:
    """The caller's model, batch normalization included, given in eval mode."""
    model = Watched(norm=True).eval()
    before, flags = deepcopy(model.state_dict()), [module.training for module in model.modules()]
    _ = ask(peer, model).answer
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    changed += ["its mode"] * (flags != [module.training for module in model.modules()])
    changed += ["gradients"] * any(value.grad is not None for value in model.parameters())
    changed += ["requires_grad"] * (not all(value.requires_grad for value in model.parameters()))
    return of(not changed, f"changed: {', '.join(changed)}" if changed else "")


def random_state(peer: PeerModule) -> Finding:
    """On all samples, so that the loader has nothing to shuffle with the global state."""
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    _ = ask(peer, Watched(), batch_size=None, seed=7).answer
    after = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    same = [torch.equal(before[0], after[0]), *(a == b for a, b in zip(before[1:], after[1:], strict=True))]
    changed = [name for name, kept in zip(("torch", "numpy", "random"), same, strict=True) if not kept]
    return of(not changed, f"changed: {', '.join(changed)}" if changed else "")


def same_bits(peer: PeerModule) -> Finding:
    """Two runs of one seed, the global random state before them different."""
    founds = []
    for state in (1, 2):
        torch.manual_seed(state)
        founds.append(ask(peer, Watched(), seed=3).answer)
    first, second = founds
    if np.array_equal(first.losses, ask(peer, Watched(), seed=4).answer.losses):
        return of(False, "another seed gives the same draws")
    draws, llc = np.array_equal(first.losses, second.losses), first.chains == second.chains
    if draws and not llc:
        init = f"L(w*) {first.init_loss:.3g} and {second.init_loss:.3g}"
        return of(False, f"the same draws, but λ̂ {np.mean(first.chains):.3g} and {np.mean(second.chains):.3g}: {init}")
    return of(draws and llc, "" if draws else "the draws differ")


def one_pass(peer: PeerModule) -> Finding:
    """Forward passes of four chains against one, those that do not grow with the draws taken off."""

    def growth(chains: int) -> float:
        few, many = (len(ask(peer, Watched(), chains=chains, draws=draws).calls) for draws in (8, 24))
        return (many - few) / 16

    ratio = growth(4) / growth(1)
    return of(ratio < 1.5, f"four chains take {ratio:.2g} times the forward passes of one")


def new_minibatches(peer: PeerModule) -> Finding:
    """Three epochs of one chain, four minibatches each: whether the last epoch's are those of the one before."""
    if peer.PACKAGE == NUTS:
        return no_question("all samples in every step")
    calls = ask(peer, Watched(), chains=1, draws=12, burn_in=0).calls
    seen = [samples for samples, _ in groupby(call.samples for call in calls if len(call.samples) == SPEC.batch_size)]
    if len(seen) < 8:
        return of(False, f"{len(seen)} minibatches seen", "unclear")
    repeated = {frozenset(samples) for samples in seen[-4:]} == {frozenset(samples) for samples in seen[-8:-4]}
    return of(not repeated, "every epoch goes through the minibatches of the first" if repeated else "")


def without_burn_in(peer: PeerModule) -> Finding:
    """λ̂ after 20 steps of burn-in against the losses of the same 30 steps without burn-in."""
    settings: dict[str, Any] = {"batch_size": None, "options": FIXED_NUTS if peer.PACKAGE == NUTS else {}}
    short = ask(peer, Watched(), burn_in=20, draws=10, **settings)
    long = ask(peer, Watched(), burn_in=0, draws=30, **settings).answer
    after, with_it = (N_BETA * (float(long.losses[:, first:].mean()) - long.init_loss) for first in (20, 0))
    for holds, value in ((True, after), (False, with_it)):
        if abs(short.llc - value) < 1e-3 * abs(after - with_it):
            return of(holds, f"λ̂ {short.llc:.3f}; draws {after:.3f}, with burn-in {with_it:.3f}")
    return of(False, f"λ̂ {short.llc:.3f} is neither {after:.3f} nor, with burn-in, {with_it:.3f}", "unclear")


def lost_chain(peer: PeerModule) -> Finding:
    """Four chains, some of which turn non-finite: at the first of five seeds at which that shows."""
    settings: dict[str, Any] = {"chains": 4, "draws": 60, "burn_in": 20, "batch_size": None, "step_size": 0.05}
    for seed in range(5):
        control, outcome = (ask(peer, Watched(cliff=cliff), seed=seed, **settings) for cliff in (None, CLIFF))
        if outcome.error:
            return of(bool(re.search(r"chain.*\d", outcome.error)), outcome.error, "stops")
        losses, named = outcome.answer.losses, new(outcome, control, r"chain.*\d|\d.*chain")
        sound = np.isfinite(losses).all(1)
        if sound.all() and not named:
            continue
        if not np.isfinite(outcome.llc):
            return of(bool(named), named or "λ̂ is not a number, without a word")
        without = N_BETA * (losses[sound].mean() - outcome.answer.init_loss) if sound.any() else np.nan
        left_out = abs(outcome.llc - without) < 1e-3 * abs(without)
        what = "left out" if left_out else "what it drew before it was lost counts"
        return of(bool(named), f"{named or 'without a word'}; {what}")
    return no_question("such moves are refused, no chain is lost")


def random_loss(peer: PeerModule) -> Finding:
    control, outcome = ask(peer, Watched()), ask(peer, Watched(noisy=True))
    refused = not control.error and bool(re.search("random|determin", outcome.error, re.IGNORECASE))
    return of(refused, outcome.error or "runs without a word")


def float64(peer: PeerModule) -> Finding:
    outcome = ask(peer, Watched(), dtype="float64")
    dtypes, losses = {call.dtype for call in outcome.calls}, outcome.answer.losses
    if dtypes != {"float64"}:
        return of(False, f"weights: {', '.join(sorted(dtypes))}")
    kept = not np.array_equal(losses, losses.astype(np.float32))
    return of(kept, "" if kept else "weights float64, losses float32", "" if kept else "weights only")


def large_step(peer: PeerModule) -> Finding:
    """On all samples, where λ is known and how far such a step is off as well."""
    settings: dict[str, Any] = {"chains": 4, "draws": 400, "burn_in": 100, "batch_size": None}
    control, outcome = (ask(peer, Watched(), step_size=TOO_LARGE / by, **settings) for by in (20, 1))
    value = f"λ̂ {outcome.llc:.2f}, exact {exact():.2f}, of that step {exact(TOO_LARGE):.2f}"
    about = "step size|stab|bias|accept"
    said = new(outcome, control, about)
    right = abs(outcome.llc - exact()) < NEAR_ENOUGH * exact()
    holds = right or bool(said)
    said = said or ("it chooses its own step" if peer.PACKAGE == NUTS else "" if right else silence(outcome, about))
    return of(holds, f"{value}; {said}".rstrip("; "))


def hardly_moved(peer: PeerModule) -> Finding:
    """Steps so small that the chains end near where they started."""
    if peer.PACKAGE == NUTS:
        return no_question("it chooses its own step")
    settings: dict[str, Any] = {"chains": 4, "draws": 200, "burn_in": 50, "batch_size": None}
    control, outcome = (ask(peer, Watched(), step_size=step, **settings) for step in (0.1, 1e-4))
    about = r"converge|disagree|R-hat|effective|\bmove|few"
    said = new(outcome, control, about)
    return of(bool(said), f"λ̂ {outcome.llc:.2f}, exact {exact():.2f}; {said or silence(outcome, about)}")


def no_minimum(peer: PeerModule) -> Finding:
    """w* up a slope: the chains find losses below L(w*), and λ̂ is negative."""
    settings: dict[str, Any] = {"chains": 4, "draws": 100, "burn_in": 20, "batch_size": None, "step_size": 0.05}
    model = Watched()
    control = ask(peer, model, **settings)
    with torch.no_grad():
        model.weight.fill_(1.0)
    outcome = ask(peer, model, **settings)
    about = "minim|gradient|negative|converge"
    said = new(outcome, control, about)
    return of(bool(said), f"λ̂ {outcome.llc:.2f}; {said or silence(outcome, about)}")


def command_line(peer: PeerModule) -> Finding:
    try:
        points = distribution(peer.PACKAGE).entry_points
    except PackageNotFoundError:
        return of(False, "not installed as a package")
    names = [point.name for point in points if point.group == "console_scripts"]
    return of(bool(names), ", ".join(names))


PROBES: dict[str, tuple[str, Callable[[PeerModule], Finding]]] = {
    "any_model": ("takes any model, data (x, y) and loss", any_model),
    "eval_mode": ("evaluates in eval mode: dropout is off", eval_mode),
    "random_loss": ("refuses a loss that is random even so", random_loss),
    "left_alone": ("leaves the caller's model as it was", left_alone),
    "random_state": ("leaves the global random state alone", random_state),
    "same_bits": ("same seed, same bits", same_bits),
    "float64": ("keeps float64", float64),
    "one_pass": ("all chains in one forward pass", one_pass),
    "new_minibatches": ("minibatches differ from epoch to epoch", new_minibatches),
    "without_burn_in": ("burn-in is left out of λ̂", without_burn_in),
    "lost_chain": ("names a chain that is lost", lost_chain),
    "large_step": ("a step far too large: λ̂ right, or said", large_step),
    "hardly_moved": ("says that chains have hardly moved", hardly_moved),
    "no_minimum": ("says that w* is no minimum", no_minimum),
    "command_line": ("has a command line", command_line),
}


def findings(peer: PeerModule, names: Sequence[str] = ()) -> dict[str, Finding]:
    """The finding of every probe, or of those named. A probe that breaks is a finding too."""
    found = {}
    for name in names or PROBES:
        _, probe = PROBES[name]
        try:
            found[name] = probe(peer)
        except LibraryFailedError as error:
            found[name] = Finding(False, "fails", str(error))
        except Exception as error:  # what a library answered could not be read
            found[name] = Finding(False, "fails", f"{type(error).__name__}: {error}")
    return found
