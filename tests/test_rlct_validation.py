"""`estimate_rlct` as one of the estimators of `slt validate`: λ and m are both held to their exact values."""

import pytest

import slt.validation
from slt import zoo
from slt.validation import ESTIMATORS, Estimator, Reading, validate


@pytest.mark.parametrize("name", ["crossing-2-2", "line-squared"])
def test_it_agrees(name, monkeypatch):
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {"rlct": ESTIMATORS["rlct"]})
    (check,) = validate(name, quick=True)
    assert check.verdict == "agrees", check
    assert check.reference == float(zoo.get(name).rlct.learning_coefficient)
    assert check.remark == f"m = {zoo.get(name).rlct.multiplicity}"


@pytest.mark.parametrize(
    ("value", "multiplicity", "verdict"), [(0.501, 2, "agrees"), (0.501, 1, "OUTSIDE"), (0.53, 2, "OUTSIDE")]
)
def test_a_wrong_m_and_a_wrong_lambda_are_outside(value, multiplicity, verdict, monkeypatch):
    reading = Reading(value, 0.01, 0.5, True, "", multiplicity, 0.02)
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {"fake": Estimator("fake", lambda m: True, lambda m, q: reading)})
    (check,) = validate("crossing-2-2")
    assert check.verdict == verdict


def test_quick_stays_quick(monkeypatch):
    """Each estimator names the models of its quick validation."""
    seen = []

    def measure(model, quick):
        seen.append(model.name)
        return Reading(0.0, 1.0, None, True)

    few = Estimator("few", lambda model: True, measure, ("crossing-2-2", "w4"))
    monkeypatch.setattr(slt.validation, "ESTIMATORS", {"few": few})
    assert len(list(validate(quick=True))) == 2
    assert sorted(seen) == ["crossing-2-2", "w4"]
    assert len(list(validate("machine-zero", quick=True))) == 1  # asked for by name
    assert set(ESTIMATORS["rlct"].quick) <= {model.name for model in zoo.models()}


def test_what_it_is_held_to():
    names = {model.name for model in zoo.models() if ESTIMATORS["rlct"].applies(model)}
    assert {"quadratic-10", "crossing-4-4", "tanh-3", "polynomial-network-L4-r2", "reduced-rank-2-5-2-r0"} <= names
    assert not names & {"machine-zero", "superposition-5-gon", "quadratic-100-ill"}
