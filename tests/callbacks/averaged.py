"""Runs with averaged weights: the recorded weights of each step, and their means in float64."""

import json

import numpy as np
import torch
from lightning.pytorch import Callback

from bert_ft.config.build.fine_tuning import build_fine_tuning
from tests.training.running import small_run

TABLE = "classifier.encoder.embeddings.word_embeddings.weight"
PLAIN = [
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",  # of ten steps
    "trainer.val_check_interval=0.5",
    "callbacks.early_stopping.patience=9",
    "optimizer.weight_decay=0.1",
]
SWA = ["averaging=swa", "averaging.start_ratio=0.25"]
EMA = ["averaging=ema", "averaging.decay=0.8"]
LAST = "callbacks.best_checkpoint=null"  # the weights at the end are kept


class Recorder(Callback):
    """Weights and rates of each optimizer step, and the weights in each validation.

    It runs after the averaging, which applies pending decay. Buffers, and rows that only validation may read, are
    compared elsewhere.
    """

    def __init__(self):
        self.raw: list[dict[str, torch.Tensor]] = []
        self.validated: dict[int, dict[str, torch.Tensor]] = {}
        self.losses: list[float] = []
        self.rates: list[list[float]] = []
        self.initial_rates: list[float] = []

    def on_train_start(self, trainer, pl_module):
        self.initial_rates = [group["initial_lr"] for group in trainer.optimizers[0].param_groups]

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())
        if trainer.global_step > len(self.raw):
            self.raw.append(weights(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if trainer.sanity_checking:
            return
        self.validated.setdefault(trainer.global_step, weights(pl_module))


def weights(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def trained(values):
    return {name: value for name, value in values.items() if not name.endswith(".unused")}


def built(folder, encoder, files, *overrides):
    """A run before its start, and its recorder."""
    config = small_run(folder, encoder, files, *PLAIN, *overrides)
    run, recorder = build_fine_tuning(config, folder), Recorder()
    run.trainer.callbacks.append(recorder)
    return run, recorder


def finished(folder, *arguments):
    run, recorder = built(folder, *arguments)
    run.run()
    return run, recorder, json.loads((folder / "metrics.json").read_text())


def checkpoint(folder, name="last"):
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)


def averaged(run):
    """The average, by the names of ``named_parameters``."""
    return weights(run.module.averaging.average.module)


def mean(steps):
    return {name: np.mean([step[name].double().numpy() for step in steps], axis=0) for name in steps[0]}


def moving_average(steps, decay):
    average = {name: value.double().numpy() for name, value in steps[0].items()}
    for others, step in enumerate(steps[1:], start=1):
        kept = min(decay, (1 + others) / (10 + others))
        average = {
            name: kept * value + (1 - kept) * step[name].double().numpy() for name, value in average.items()
        }
    return average


def expected(overrides, raw, step=None):
    """The average of runs with ``SWA`` or ``EMA`` after a step, by default the last."""
    return mean(raw[4:step]) if overrides is SWA else moving_average(raw[:step], 0.8)


def whole(values, run):
    """The trained rows of a table in their places among the others."""
    values = {name: np.asarray(value) for name, value in values.items()}
    embedding = run.module.classifier.encoder.get_input_embeddings()
    rows = np.concatenate([values[TABLE], values.pop(TABLE.replace("weight", "unused"))])
    return {**values, TABLE: rows[embedding.row_of.numpy()]}


def assert_close(values, expected, tolerance=1e-6):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        found = value.double().numpy()
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=tolerance, err_msg=name)


def assert_equal(values, expected):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert torch.equal(value, expected[name]), name


def difference(one, other):
    return max(float(np.abs(np.asarray(one[name]) - np.asarray(other[name])).max()) for name in one)


def states_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
