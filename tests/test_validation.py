"""`slt validate`: estimators against the zoo, and what happens to one that is wrong."""

import json
import sys

import pytest

import slt.validation
from slt.cli import main
from slt.validation import ESTIMATORS, RLCT_QUICK, Estimator, Reading, validate

QUICK_MODELS = ["quadratic-10-ill", "crossing-4-4", "machine-zero", "reduced-rank-3-2-2-r0"]


@pytest.mark.parametrize("model", QUICK_MODELS)
def test_the_llc_agrees_with_quadrature_at_finite_n(model, monkeypatch):
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {"llc": ESTIMATORS["llc"]})
    (check,) = validate(model, quick=True)
    assert check.verdict == "agrees", check
    assert abs(check.relative_error) < 0.15


def test_the_network_path_agrees_with_quadrature(monkeypatch):
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {"llc-network": ESTIMATORS["llc-network"]})
    (check,) = validate("reduced-rank-2-2-2-r0", quick=True)
    assert check.verdict == "agrees", check


@pytest.mark.slow
@pytest.mark.parametrize("model", RLCT_QUICK)
def test_lambda_and_m_agree_with_the_exact_answer(model, monkeypatch):
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {"rlct": ESTIMATORS["rlct"]})
    (check,) = validate(model, quick=True)
    assert check.verdict == "agrees", check


def test_the_wrong_m_is_outside(monkeypatch):
    wrong = Reading(0.5, 0.01, 0.5, True, multiplicity=1)  # of (xy)², whose m is 2
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {"fake": Estimator("fake", lambda m: True, lambda m, q: wrong)})
    (check,) = validate("crossing-2-2", quick=True)
    assert check.verdict == "OUTSIDE"


def test_estimators_of_m_apply_to_every_small_potential_of_the_zoo():
    """d <= 20 and m <= 4, each once, but for the toy models of superposition."""
    names = {model.name for model in slt.validation.zoo.models() if ESTIMATORS["rlct"].applies(model)}
    assert {"norms-3-3", "cusp-squared", "tanh-3", "reduced-rank-2-2-2-r1", "polynomial-network-L4-r2"} <= names
    assert not {"machine-zero", "superposition-6-gon", "quadratic-100-ill"} & names
    assert len(names) > 50


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["slt", "validate", *arguments])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fake(value, error, trusted=True, reference=1.0):
    return {
        "fake": Estimator("fake", lambda model: True, lambda model, quick: Reading(value, error, reference, trusted))
    }


@pytest.mark.parametrize(
    ("reading", "verdict", "code"),
    [
        (fake(1.01, 0.01), "agrees", 0),
        (fake(1.1, 0.01), "OUTSIDE", 1),  # ten errors off
        (fake(1.5, 0.5), "OUTSIDE", 1),  # an error bar may not hide a wrong number
        (fake(9.0, 0.01, trusted=False), "refused", 0),
        (fake(1.0, 0.01, reference=None), "no reference", 0),
    ],
)
def test_verdicts_and_exit_codes(monkeypatch, capsys, reading, verdict, code):
    monkeypatch.setattr(slt.validation, "ESTIMATORS", reading)
    assert run(monkeypatch, capsys, "--only", "crossing-2-2")[0] == code
    found, out, _ = run(monkeypatch, capsys, "--only", "crossing-2-2", "--json")
    assert found == code
    check = json.loads(out)
    assert (check["verdict"], check["model"], check["multiplicity"]) == (verdict, "crossing-2-2", 2)


def test_an_estimator_joins_by_registering(monkeypatch, capsys):
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {})
    slt.validation.register(fake(1.0, 0.1)["fake"])
    _, out, _ = run(monkeypatch, capsys, "--only", "regular")
    assert out.count("fake") == len(slt.validation.zoo.models("regular"))
    assert out.strip().splitlines()[-1].startswith(f"{len(slt.validation.zoo.models('regular'))} agrees, 0 OUTSIDE")


def test_an_unknown_name_is_one_line(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "--only", "crossing")
    assert code == 2
    assert "did you mean" in err
