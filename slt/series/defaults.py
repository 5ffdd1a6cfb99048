"""What an estimate of a series is by default, where it differs from one that stands alone."""

from typing import Any

from torch import nn

from slt.settings import choose_sampler
from slt.task import DataSource

FULL_DATA_STEPS = 3_000  # max_steps of Metropolis-corrected samplers: where λ̂ is near 0, no relative error is met


def series_settings(settings: dict[str, Any], model: nn.Module, data: Any) -> dict[str, Any]:
    """The settings, with a smaller `max_steps` where none is given and the sampler corrects on the full data."""
    return {"max_steps": FULL_DATA_STEPS, **settings} if on_full_data(settings, model, data) else settings


def on_full_data(settings: dict[str, Any], model: nn.Module, data: Any) -> bool:
    """Whether the settings come to a Metropolis-corrected sampler."""
    sampler = settings.get("sampler", "auto")
    if sampler == "auto":
        parameters = [p for p in model.parameters() if p.requires_grad] or list(model.parameters())
        dimension = sum(p.numel() for p in parameters)
        sampler = choose_sampler(DataSource(data).n, dimension, settings.get("batch_size"))
    return sampler in ("hmc", "mala")
