"""A model on its data as the samplers see it, evaluated as the settings say."""

from typing import Any

from torch import nn

from samplers.engine import ModuleLoss, PerSampleLoss
from slt.losses import default_loss
from slt.settings import Settings, choose_device, choose_dtype
from slt.task import DataSource


def data_source(model: nn.Module, data: Any, options: Settings) -> DataSource:
    """The data on the device and in the dtype that the model will have."""
    return DataSource(data, device=choose_device(options.device, model), dtype=choose_dtype(options.dtype, model))


def model_loss(model: nn.Module, source: DataSource, loss: PerSampleLoss | None, options: Settings) -> ModuleLoss:
    """The mean loss of a model on its data. Raises InputError where model, loss and data do not fit together."""
    return ModuleLoss(
        model,
        loss or default_loss,
        source,
        device=choose_device(options.device, model),
        dtype=choose_dtype(options.dtype, model),
        evaluation=options.evaluation,
        amp=options.amp,
        memory=round(options.memory * 2**30),
    )
