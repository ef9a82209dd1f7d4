"""Runs with monitors: whole runs, and a module that returns given values in its validation."""

import html
import json
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from bert_ft.config.build.fine_tuning import build_fine_tuning
from tests.training.running import small_run

# that a run built from a configuration doesn't show (see ``bert_ft.config.build.trainer``)
IGNORED_REMARKS = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]
PLAIN = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "monitor=none"]  # ten steps


class Log(Logger):
    """Scalars by step."""

    name = version = "log"

    def __init__(self):
        super().__init__()
        self.scalars: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics, step=None):
        self.scalars.setdefault(step, {}).update(metrics)

    def log_hyperparams(self, *args, **kwargs):
        pass

    def of(self, prefix):
        """``{step: {name: value}}`` of names with the prefix."""
        found = {
            step: {name: value for name, value in values.items() if name.startswith(prefix)}
            for step, values in self.scalars.items()
        }
        return {step: values for step, values in found.items() if values}


def built(folder, encoder, files, monitors, *overrides):
    """A run before its start, with ``monitors`` after its own callbacks, and its log."""
    config = small_run(folder, encoder, files, *PLAIN, *overrides)
    run, log = build_fine_tuning(config, folder), Log()
    run.trainer.callbacks.extend(monitors)
    run.trainer.loggers.append(log)
    return run, log


def finished(*arguments):
    run, log = built(*arguments)
    run.run()
    return run, log


def weights(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def arrays(path: Path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def records(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def events(folder: Path):
    """What TensorBoard itself reads of a run."""
    everything = {"histograms": 0, "tensors": 0, "scalars": 0}
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def cells(markdown):
    """The table as TensorBoard renders it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what it carries along
        from tensorboard.plugin_util import markdown_to_safe_html
    rendered = markdown_to_safe_html(markdown)
    rows = re.findall(r"<tr>(.*?)</tr>", rendered, flags=re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]
    return [[html.unescape(cell).strip() for cell in row] for row in found]


class Given(LightningModule):
    """Returns the rows of ``values`` that its validation loader names; training changes an unused weight."""

    def __init__(self, values, names=None, batches=None):
        super().__init__()
        self.values = values
        self.batches = batches
        self.weight = torch.nn.Parameter(torch.zeros(1))
        if names is not None:
            self.classifier = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(names))))

    def training_step(self, batch, batch_idx):
        return self.weight.square().sum()

    def validation_step(self, rows, batch_idx):
        if not isinstance(self.values, dict):
            return self.values
        return {name: value[rows] for name, value in self.values.items()}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(range(2))

    def val_dataloader(self):
        batches = self.batches or torch.arange(len(self.values["labels"])).split(7)
        return DataLoader(batches, batch_size=None)


def given(num_rows=60, seed=0, present=range(3), dtype=torch.float32):
    """Logits that are mostly correct, in the order of the loader, which reverses the rows."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(present, num_rows)
    logits = rng.normal(scale=1.5, size=(num_rows, 3)) + 2 * np.eye(3)[labels]
    return {
        "logits": torch.from_numpy(logits).to(dtype),
        "labels": torch.from_numpy(labels),
        "rows": torch.arange(num_rows).flip(0),
    }


def broken_off(module, epoch=0):
    """``module`` with an error in the middle of that epoch's validation."""
    step = module.validation_step

    def validate(rows, batch_idx):
        if batch_idx == 2 and module.current_epoch == epoch:
            raise RuntimeError("broken off")
        return step(rows, batch_idx)

    module.validation_step = validate
    return module


class Validation(LightningDataModule):
    """A data module with texts and the loaders of a ``Given``."""

    def __init__(self, module, texts=None):
        super().__init__()
        self.given = texts
        self.train_dataloader, self.val_dataloader = module.train_dataloader, module.val_dataloader

    def texts(self, split, rows):
        assert split == "validation"
        return [self.given[row] if self.given else f"text {row}" for row in rows]


def fitted(folder, module, monitor, *, datamodule=None, **settings):
    """The log of a fit of two steps and one validation; TensorBoard's is in ``folder/tensorboard``."""
    log = Log()
    trainer(folder, monitor, log, **settings).fit(module, datamodule=datamodule)
    return log


def trainer(folder, monitor, log, **settings):
    return Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": [log, TensorBoardLogger(folder, name="", version="tensorboard")],
            "callbacks": [monitor],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 2,
            **settings,
        }
    )
