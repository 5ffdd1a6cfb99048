"""The learning coefficient during training with Hugging Face's Trainer. The one file that imports transformers."""

from collections.abc import Collection
from typing import Any

from samplers.errors import InputError
from slt.integrations.logged import logged
from slt.series.tracker import Tracker

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise InputError("HuggingFaceTracker needs transformers: pip install 'slt-toolkit[huggingface]'") from error


class HuggingFaceTracker(TrainerCallback):
    """`trainer.add_callback(HuggingFaceTracker(trainer, data, loss=slt.causal_lm_loss, every=200))` estimates λ̂ at the
    steps of its schedule.

    Takes what `slt.Tracker` takes, which is `tracker`, with the curve: `callback.tracker.trajectory()`. `data` is a
    dataset of dicts of tensors, the target under 'labels': everything else goes to the model by name, the loss gets
    what it returns. `slt/llc` and `slt/llc_std_error` go through `trainer.log`, hence to TensorBoard, W&B, the console
    and `trainer.state.log_history`, where the estimate has a usable number; those made in the background come in later
    than their step, which is `slt/step`. The trainer is asked for by name, for it does not show itself to callbacks.

    With several processes that hold the whole model each, the first one estimates, the others wait for it at their next
    common step. A model whose weights are spread over processes cannot be estimated.
    """

    def __init__(self, trainer: Trainer, data: Any, every: int | str | Collection[int] = 200, **options: Any):
        self.tracker = Tracker(data, every, **options)
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The model as training finds it."""
        self._track(state, control, kwargs["model"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The model after an optimizer step."""
        self._track(state, control, kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Estimates in the background are waited for."""
        self.tracker.wait()
        self._log(state, control)

    def _track(self, state: TrainerState, control: TrainerControl, model: Any) -> None:
        if state.is_world_process_zero:
            self.tracker(state.global_step, model)
            self._log(state, control)

    def _log(self, state: TrainerState, control: TrainerControl) -> None:
        for row in self.tracker.news():
            if numbers := logged(row):
                due = control.should_log  # which a log takes back: the trainer's own is still to come
                self._trainer.log({**numbers, "slt/step": row["step"]})
                control.should_log = due
