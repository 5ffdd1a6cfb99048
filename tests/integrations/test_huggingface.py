"""The Hugging Face callback in real training runs: nothing disturbed, everything logged."""

import pytest
import torch
import transformers
from torch import nn
from training import assert_same, logistic_regression, seed, state_of

import slt
from slt.integrations import HuggingFaceTracker
from slt.series.defaults import FULL_DATA_STEPS

WORDS, LENGTH = 11, 6


def tokens(samples=32):
    ids = torch.randint(0, WORDS, (samples, LENGTH), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row} for row in ids]


def language_model():
    config = transformers.GPT2Config(
        vocab_size=WORDS, n_positions=LENGTH, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


class States(transformers.TrainerCallback):
    """The whole state after every step, and what is logged, as TensorBoard and W&B see it."""

    def __init__(self):
        self.seen, self.logs = [], []

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.seen.append(state_of(model, optimizer))

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append((state.global_step, dict(logs)))


def train(tmp_path, build, samples, tracker=None, **arguments):
    """A trainer after training, its tracker, and what another callback saw."""
    seed()
    states = States()
    trainer = transformers.Trainer(
        model=build(),
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            max_steps=6,
            logging_steps=2,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            **arguments,
        ),
        train_dataset=samples,
        callbacks=[states],
    )
    callback = tracker and tracker(trainer)
    if callback:
        trainer.add_callback(callback)
    trainer.train()
    return trainer, callback, states


TIMES = ("train_runtime", "train_samples_per_second", "train_steps_per_second")


def own(logs):
    """The trainer's own logs, without the times."""
    kept = [(step, {name: v for name, v in values.items() if name not in TIMES}) for step, values in logs]
    return [(step, values) for step, values in kept if "slt/llc" not in values]


def test_training_is_the_same_to_the_last_bit(tmp_path):
    def tracker(trainer):
        quick = {"chains": 2, "draws": 4, "every": 3}
        return HuggingFaceTracker(trainer, tokens(), loss=slt.causal_lm_loss, **quick)

    trainer, callback, seen = train(tmp_path, language_model, tokens(), tracker)
    plain, _, alone = train(tmp_path, language_model, tokens())
    for one, other in zip(seen.seen, alone.seen, strict=True):
        assert_same(one, other)
    assert_same(state_of(trainer.model, trainer.optimizer), state_of(plain.model, plain.optimizer))
    assert own(seen.logs) == own(alone.logs)
    assert len(own(seen.logs)) == 4
    assert list(callback.tracker.trajectory().step) == [0, 3, 6]


class Easy(nn.Module):
    """Logistic regression as the Trainer likes it, from its minimum."""

    def __init__(self):
        super().__init__()
        samples = easy_samples()
        self.layer = logistic_regression(*(torch.stack([one[name] for one in samples]) for name in ("x", "labels")))

    def forward(self, x, labels=None):
        logits = self.layer(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


def easy_samples(samples=96):
    order = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 3, generator=order)
    y = (x.sum(1) + torch.randn(samples, generator=order) > 0).long()
    return [{"x": x[i], "labels": y[i]} for i in range(samples)]


@pytest.mark.parametrize("background", [False, True])
def test_the_loggers_get_what_has_a_number(tmp_path, background):
    def tracker(trainer):
        return HuggingFaceTracker(trainer, easy_samples(), every=[2, 4, 6], background=background, chains=4)

    trainer, callback, seen = train(tmp_path, Easy, easy_samples(), tracker, learning_rate=1e-4)
    found = callback.tracker.trajectory()
    assert found.usable.all()
    expected = [
        {"slt/llc": float(found.llc[i]), "slt/llc_std_error": float(found.std_error[i]), "slt/step": int(found.step[i])}
        for i in range(3)
    ]
    for logs in (seen.logs, [(entry["step"], entry) for entry in trainer.state.log_history]):
        ours = [(step, values) for step, values in logs if "slt/llc" in values]
        assert [{name: values[name] for name in expected[0]} for _, values in ours] == expected
        assert background or [step for step, _ in ours] == [values["slt/step"] for _, values in ours]
    at = {"gamma": found.gamma, "beta": found.beta, "max_steps": FULL_DATA_STEPS, "chains": 4, "progress": False}
    at |= {"remedy": "gradient-normal"}
    assert slt.estimate_llc(trainer.model, easy_samples(), **at).llc == found.llc[-1]
