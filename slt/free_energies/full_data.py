"""What ladders and information criteria share: settings of full-data, Metropolis-corrected runs, a model's loss."""

from typing import Any

from torch import nn

from samplers.engine import ModuleLoss, PerSampleLoss
from samplers.errors import InputError
from slt.model_loss import data_source, model_loss
from slt.settings import Settings, settings_by_name


def full_data_options(settings: dict[str, Any]) -> Settings:
    """The settings by name, checked for a run under HMC or MALA on all the data at some β > 0.

    Raises InputError for unknown names and for settings that such a run cannot follow.
    """
    options = settings_by_name(settings)
    if options.sampler not in ("auto", "hmc", "mala"):
        raise InputError(f"free energies and WAIC need sampler 'hmc' or 'mala', got {options.sampler!r}")
    if options.preconditioner not in ("auto", "identity"):
        raise InputError(
            f"free energies and WAIC run without a preconditioner: leave it at 'auto', got {options.preconditioner!r}"
        )
    if options.remedy is not None:
        raise InputError("free energies and WAIC are of the whole neighbourhood of w*: leave the remedy out")
    if options.beta == 0:
        raise InputError("beta must be positive here: at beta = 0 there is the localizing Gaussian and nothing else")
    return options


def module_loss(model: nn.Module, data: Any, loss: PerSampleLoss | None, options: Settings) -> ModuleLoss:
    """The mean loss of a model on its data, as the settings say it is evaluated; `.data.n` is the number of samples.

    Raises InputError where a `batch_size` other than n is set.
    """
    source = data_source(model, data, options)
    if options.batch_size not in (None, source.n):
        raise InputError("free energies and WAIC need the full data: leave batch_size unset")
    return model_loss(model, source, loss, options)
