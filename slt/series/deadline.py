"""One estimate as a row of a trajectory, given up when its time is over."""

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from samplers.engine import PerSampleLoss
from slt.llc.estimation import estimate_llc
from slt.losses import default_loss
from slt.series.defaults import series_settings
from slt.trajectory import row


class OutOfTime(BaseException):
    """The time of an estimate is over. No Exception, which what lies between would take for the loss's own failure."""


def estimate_row(
    step: int,
    model: nn.Module,
    data: Any,
    loss: PerSampleLoss | None,
    settings: dict[str, Any],
    seconds: float = math.inf,
) -> dict[str, Any]:
    """The row of a trajectory for the model's weights, made within `seconds` or not at all: no bit depends on them.

    The settings are those of a series: `slt.series.defaults`.

    Raises OutOfTime, and InputError where the weights have no estimate.
    """
    timed = loss if math.isinf(seconds) else _timed(loss or default_loss, time.perf_counter() + seconds)
    settings = series_settings(settings, model, data)
    found = estimate_llc(model, data, timed, progress=False, checkpoint=str(step), **settings)
    return row(step, found)


def _timed(loss: PerSampleLoss, end: float) -> PerSampleLoss:
    """The loss, which every pass goes through, as a clock: a compiled pass alone does not look at it."""

    def timed(output: Any, target: Any) -> Tensor:
        if not torch.compiler.is_compiling() and time.perf_counter() > end:
            raise OutOfTime
        return loss(output, target)

    return timed
