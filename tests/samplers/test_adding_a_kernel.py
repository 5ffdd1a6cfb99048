"""The example of docs/adding_a_kernel.md is run as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from simulation import start_run
from targets import correlated, ill_conditioned

from samplers.gradient import ControlVariate
from samplers.kernel import Kernel

PAGE = Path(__file__).parents[2] / "docs" / "adding_a_kernel.md"


@pytest.fixture(scope="module")
def example() -> dict:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec"), names)
    names["lines"] = code.count("\n")
    return names


def test_it_is_thirty_lines_or_so(example):
    assert example["lines"] <= 36


@pytest.mark.parametrize("make_target", [correlated, ill_conditioned])
def test_it_has_the_law_that_the_page_states(example, make_target):
    """Variance 1/s at a step at which SGLD, in the stiffest direction, would be four times too wide."""
    target = make_target()
    precision = np.linalg.inv(target.moments)
    epsilon = 3.0 / np.linalg.eigvalsh(precision).max()
    kernel: Kernel = example["AveragedNoise"](epsilon)
    run = start_run(target.posterior, kernel, 48)
    total, steps = 0.0, 0
    for step in range(4000):
        run.step()
        if step >= 500:
            x = run.position @ torch.linalg.cholesky(torch.tensor(precision))
            total, steps = total + x.square(), steps + 1
    found = (total / steps)[:, -1]
    assert abs(float((found.mean() - 1) / (found.std() / 48**0.5))) < 4
    assert float(found.std() / 48**0.5) < 0.02


def test_it_composes_with_a_gradient_estimator(example):
    estimator = ControlVariate()
    run = start_run(correlated().posterior, example["AveragedNoise"](0.01, estimator), 3)
    run.step()
    assert run.kernel.gradient is estimator
    assert run.state._fields == ("position", "noise")
