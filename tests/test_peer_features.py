"""Every probe holds for a library that does all it should, and fails for one that does not in that one respect."""

import json
import random
import warnings
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad_and_value, vmap

from benchmarks import peer_features
from benchmarks.peers.client import OURS, PEERS, PeerError, features
from benchmarks.peers.features import NUTS, PROBES, Finding, findings
from benchmarks.peers.probing import CURVATURE, SPEC, Watched, ask, data, exact, heard
from benchmarks.peers.spec import Found
from slt.linearized import quadratic_llc


@dataclass
class Fake:
    """SGLD in a few lines that does what every probe asks for, `faults` (probes' names) apart."""

    faults: set = field(default_factory=set)
    PACKAGE: str = "slt-toolkit"

    def __post_init__(self):
        if "any_model" in self.faults:
            self.numbered = lambda count: [{"input_ids": torch.tensor([i, i])} for i in range(count)]
        if "command_line" in self.faults:
            self.PACKAGE = "no-such-package"

    def estimate(self, problem):
        spec, faults = problem.spec, self.faults
        if "any_model" in faults:
            assert self.numbered(1)[0]["input_ids"] is not None
        if "random_state" in faults:
            random.seed(spec.seed)
        generator = torch.Generator().manual_seed(spec.seed if "same_bits" not in faults else torch.seed() % 1000)
        model = deepcopy(problem.model).train("eval_mode" in faults)
        x, y = problem.inputs, problem.targets
        if "left_alone" in faults:
            problem.model.train()(x)
        if "float64" in faults:
            model, x, y = model.float(), x.float(), y.float()
        center = {name: value.detach().clone() for name, value in model.named_parameters()}

        def loss(weights, x, y):
            return problem.losses(functional_call(model, weights, (x,)), y).mean()

        with torch.no_grad():
            init = float(loss(center, x, y))
            if "random_loss" not in faults and float(loss(center, x, y)) != init:
                raise ValueError("the loss is not deterministic")
        step = grad_and_value(loss)
        together = vmap(step, in_dims=(0, None, None), randomness="different")

        def gradients(weights, x, y):
            if "one_pass" not in faults:
                return together(weights, x, y)
            each = [step({k: v[c] for k, v in weights.items()}, x, y) for c in range(spec.chains)]
            stacked = {name: torch.stack([gradient[name] for gradient, _ in each]) for name in weights}
            return stacked, torch.stack([value for _, value in each])

        weights = {name: value.expand(spec.chains, *value.shape).clone() for name, value in center.items()}
        losses, order, count = [], [], len(x)
        epoch = torch.randperm(count, generator=generator)
        for _ in range(spec.burn_in + spec.draws):
            if not order:
                if "new_minibatches" not in faults:
                    epoch = torch.randperm(count, generator=generator)
                order = list(epoch.split(problem.batch_size))
            index = order.pop()
            gradient, values = gradients(weights, x[index], y[index])
            losses.append(values.detach())
            for name, w in weights.items():
                noise = torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w.dtype)
                drift = spec.n_beta * gradient[name] + spec.gamma * (w - center[name])
                weights[name] = w - spec.step_size / 2 * drift + spec.step_size**0.5 * noise
        kept = torch.stack(losses, 1)[:, 0 if "without_burn_in" in faults else spec.burn_in :].double().numpy()
        chains = spec.n_beta * (kept.mean(1) - init)
        if "lost_chain" not in faults:
            for chain in np.flatnonzero(~np.isfinite(chains)):
                warnings.warn(f"chain {chain} is lost", stacklevel=2)
            chains = chains[np.isfinite(chains)]
        if spec.step_size > 0.1 and "large_step" not in faults:
            warnings.warn("the step size is too large", stacklevel=2)
        if spec.step_size < 1e-3 and "hardly_moved" not in faults:
            warnings.warn("the chains have hardly moved", stacklevel=2)
        if chains.mean() < 0 and "no_minimum" not in faults:
            warnings.warn("w* is no minimum", stacklevel=2)
        return Found(kept, chains.tolist(), init, 0.0)


def test_a_library_that_does_all_it_should():
    found = findings(Fake())
    assert set(found) == set(PROBES)
    assert [name for name, finding in found.items() if finding.holds is not True] == []
    assert all(finding.word == "yes" for finding in found.values())


@pytest.mark.parametrize("name", PROBES)
def test_a_library_with_one_fault(name):
    finding = findings(Fake({name}), [name])[name]
    assert finding.holds is False
    assert finding.word != "fails"
    assert finding.evidence


def test_a_lost_chain_averaged_without_a_word():
    class Silent(Fake):
        def estimate(self, problem):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return super().estimate(problem)

    finding = findings(Silent(), ["lost_chain"])["lost_chain"]
    assert finding.holds is False
    assert finding.evidence == "without a word; left out"


def test_a_library_that_raises_does_not_pass():
    class Broken(Fake):
        def estimate(self, problem):
            raise RuntimeError("out of order")

    found = findings(Broken())
    assert {name for name, finding in found.items() if finding.holds is not False} == {"command_line"}
    assert found["float64"] == Finding(False, "fails", "RuntimeError: out of order")


def test_questions_that_do_not_arise():
    found = findings(Fake(PACKAGE=NUTS), ["any_model", "eval_mode", "new_minibatches"])
    assert all(finding.holds is None and finding.evidence for finding in found.values())


def test_the_problem():
    x, y = data()
    model = Watched()
    assert x[:, 0].tolist() == list(range(32))
    hessian = x[:, 1:].T @ x[:, 1:] / len(x)
    torch.testing.assert_close(hessian, torch.diag(torch.tensor(CURVATURE)), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, 1:].T @ (model(x) - y), torch.zeros(2, 1), atol=1e-4, rtol=0)
    assert exact() == pytest.approx(quadratic_llc(torch.tensor([*CURVATURE, 0.0]), SPEC.n_beta, SPEC.gamma))


def test_warnings_and_log_are_heard():
    import logging

    with heard() as said:
        warnings.warn("a warning", stacklevel=1)
        logging.getLogger("somewhere").warning("a %s line", "log")
    assert sorted(said) == ["a log line", "a warning"]


def test_the_models_calls_are_noted():
    outcome = ask(Fake(), Watched(), chains=3, dtype="float64")
    assert {call.dtype for call in outcome.calls} == {"float64"}
    assert {len(call.samples) for call in outcome.calls} == {8, 32}
    assert ask(Fake(), Watched(noisy=True)).error == "ValueError: the loss is not deterministic"


def measured(ours, peers):
    """A result: one probe, its finding for this toolkit and for so many peers."""
    answer = {"version": "x 1", "findings": {"float64": vars(ours)}, "seconds": 1.0}
    return {"probes": {"float64": "keeps float64"}, "libraries": {OURS: answer, **dict.fromkeys(peers, answer)}}


def test_verdicts():
    good, bad = Finding(True, "yes"), Finding(False, "no", "word " * 100)
    assert peer_features.judge(measured(good, PEERS)).word == "reproduced"
    assert peer_features.judge(measured(good, [])).word == "partly"
    assert peer_features.judge(measured(bad, [])).word == "not"
    assert "not keeps float64" in peer_features.judge(measured(bad, PEERS)).why
    words, evidence = peer_features.tables(json.loads(json.dumps(measured(bad, ["pyro"]))))
    assert words.rows == [("keeps float64", "no", "no")]
    assert [row[1] for row in evidence.rows] == ["this toolkit", "x 1"]
    assert len(evidence.rows[0][2]) == peer_features.LONGEST


def test_a_process_that_dies_says_so():
    with pytest.raises(PeerError, match="the process of ours ended"):
        features(OURS, "no_such_probe")
