"""NUTS by name: the reference sampler through the same door as the others."""

import pytest

import slt
from slt.linearized import quadratic_llc

pytest.importorskip("pyro")


def test_nuts_by_name_has_the_closed_form(quadratic):
    model, data, curvature = quadratic
    run = slt.estimate_llc(
        model, data, slt.gaussian_loss(1.0), sampler="nuts", gamma=10.0, chains=2, draws=60, warmup=40
    )
    exact = quadratic_llc(curvature, run.n * run.beta, 10.0)
    assert (run.sampler, run.draws, run.step_error) == ("nuts", 60, None)
    assert abs(run.llc - exact) < 4 * run.std_error
    assert run.gradients > 100  # adaptation included
    assert not any("step_size" in choice for choice in run.choices)


def test_what_nuts_cannot_do_is_said(quadratic, tmp_path):
    model, data, _ = quadratic
    for knobs, words in (({"resume": tmp_path / "run.pt"}, "one piece"), ({"batch_size": 10}, "needs the full data")):
        with pytest.raises(slt.InputError, match=words):
            slt.estimate_llc(model, data, slt.gaussian_loss(1.0), sampler="nuts", **knobs)
