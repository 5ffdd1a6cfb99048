"""The example of docs/samplers.md is run as it stands there."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "samplers.md"


def test_the_example_runs_and_moves_the_first_layer_only():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {"__name__": "example"}
    with torch.random.fork_rng():
        exec(compile(code, str(PAGE), "exec"), names)
    assert names["estimate"].trace.loss.shape == (8, 300)
    assert names["layout"].dimension == names["kernel"].constraint.keep.numel()
    assert int(names["kernel"].constraint.keep.sum()) == 4 * 8 + 8
