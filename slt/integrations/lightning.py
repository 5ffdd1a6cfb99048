"""The learning coefficient during training with Lightning. The one file that imports lightning."""

from collections.abc import Collection
from typing import Any

import torch

from samplers.errors import InputError
from slt.integrations.logged import logged
from slt.series.tracker import Tracker

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise InputError("LightningTracker needs Lightning: pip install 'slt-toolkit[lightning]'") from error


class LightningTracker(Callback):
    """`Trainer(callbacks=[LightningTracker(data, every=200)])` estimates λ̂ at the optimizer steps of its schedule.

    Takes what `slt.Tracker` takes, which is `tracker`, with the curve: `callback.tracker.trajectory()`. What is
    estimated is the LightningModule's own forward pass, or that of its submodule named `model`; on `data`, not on the
    loader's batches. `slt/llc` and `slt/llc_std_error` go to every logger of the trainer at the step of the estimate,
    where it has a usable number, and to `trainer.callback_metrics`.

    With several processes that hold the whole model each, the first one estimates, the others wait for it at their next
    common step. A model whose weights are spread over processes cannot be estimated.
    """

    def __init__(
        self, data: Any, every: int | str | Collection[int] = 200, *, model: str | None = None, **options: Any
    ):
        self.tracker = Tracker(data, every, **options)
        self._model = model
        self._step: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model as training finds it."""
        self._track(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """The model after an optimizer step; batches that only add to the gradient are no step."""
        if trainer.global_step != self._step:
            self._track(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Estimates in the background are waited for."""
        self.tracker.wait()
        self._log(trainer)

    def _track(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step
        if trainer.is_global_zero:
            self.tracker(trainer.global_step, self._part(pl_module))
            self._log(trainer)

    def _part(self, pl_module: LightningModule) -> Any:
        if self._model is None:
            return pl_module
        try:
            return pl_module.get_submodule(self._model)
        except AttributeError as error:
            parts = ", ".join(name for name, _ in pl_module.named_children())
            raise InputError(f"the LightningModule has no submodule {self._model!r}; it has {parts}") from error

    def _log(self, trainer: Trainer) -> None:
        for row in self.tracker.news():
            if numbers := logged(row):
                trainer.callback_metrics.update({name: torch.tensor(value) for name, value in numbers.items()})
                for logger in trainer.loggers:
                    logger.log_metrics(numbers, step=row["step"])
