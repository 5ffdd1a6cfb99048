"""The Lightning callback in real training runs: nothing disturbed, everything logged."""

import csv

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training import assert_same, logistic_regression, seed, state_of

import slt
from slt.integrations import LightningTracker
from slt.series.defaults import FULL_DATA_STEPS

QUICK = {"chains": 4, "draws": 8}


def data(samples=80):
    order = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 3, generator=order)
    return x, (x.sum(1) + 0.5 * torch.randn(samples, generator=order) > 0).long()


class Module(lightning.LightningModule):
    """Dropout, batch norm and gradients accumulated over two batches; it logs its own loss."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


class States(lightning.Callback):
    """The whole state after every batch, seen before or after the tracker saw it."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.seen.append(state_of(pl_module, trainer.optimizers[0]))


def train(tmp_path, *callbacks, module=Module, epochs=2):
    seed()
    model = module()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=CSVLogger(tmp_path),
        log_every_n_steps=1,
        accumulate_grad_batches=2,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(TensorDataset(*data()), 16, shuffle=True))
    return model, trainer


def logged(trainer, name):
    with open(f"{trainer.logger.log_dir}/metrics.csv", newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def test_training_is_the_same_to_the_last_bit(tmp_path):
    with_it, without = States(), States()
    tracker = LightningTracker(data(), every=2, **QUICK)
    model, trainer = train(tmp_path / "with", tracker, with_it)
    alone, plain = train(tmp_path / "without", without)
    for one, other in zip(with_it.seen, without.seen, strict=True):
        assert_same(one, other)
    assert_same(state_of(model, trainer.optimizers[0]), state_of(alone, plain.optimizers[0]))
    assert logged(trainer, "loss") == logged(plain, "loss")
    assert list(tracker.tracker.trajectory().step) == [0, 2, 4, 6]


class Easy(lightning.LightningModule):
    """Logistic regression from its minimum, without a forward pass of its own."""

    def __init__(self):
        super().__init__()
        self.net = logistic_regression(*data())

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-4)


@pytest.mark.parametrize("background", [False, True])
def test_the_loggers_get_what_has_a_number(tmp_path, background):
    tracker = LightningTracker(data(), every=[0, 6, 12], model="net", background=background, chains=4)
    model, trainer = train(tmp_path, tracker, module=Easy, epochs=4)
    found = tracker.tracker.trajectory()
    assert found.usable.all()
    assert found.step.tolist() == [0, 6, 12]
    assert logged(trainer, "slt/llc") == dict(zip([0, 6, 12], found.llc.tolist(), strict=True))
    assert logged(trainer, "slt/llc_std_error") == dict(zip([0, 6, 12], found.std_error.tolist(), strict=True))
    assert float(trainer.callback_metrics["slt/llc"]) == pytest.approx(found.llc[-1], rel=1e-6)
    at = {"gamma": found.gamma, "beta": found.beta, "max_steps": FULL_DATA_STEPS, "chains": 4, "progress": False}
    at |= {"remedy": "gradient-normal"}
    assert slt.estimate_llc(model.net, data(), **at).llc == found.llc[-1]


def test_a_submodule_that_is_not_there(tmp_path):
    with pytest.raises(slt.InputError, match=r"no submodule 'body'; it has net$"):
        train(tmp_path, LightningTracker(data(), model="body"))
