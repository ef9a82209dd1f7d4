"""Short trainings with step monitors: modules, what happened in each step, what was logged."""

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification

from bert_ft.callbacks.activations import ActivationMonitor
from bert_ft.callbacks.gradients import GradientMonitor
from bert_ft.callbacks.training_curves import TrainingCurves
from bert_ft.callbacks.weights import WeightMonitor
from bert_ft.data.packing import TextBatch, pad, padding_mask
from bert_ft.models.classifier import LinearClassifier, ResidualClassifier
from bert_ft.models.encoder import empty_encoder, empty_sequence_classifier
from bert_ft.models.encoder_config import set_dropout
from bert_ft.models.frozen import freeze
from bert_ft.nn.losses import CrossEntropy
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.schedules import Constant
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.module import ClassificationModule
from bert_ft.training.objective import LossTerms, Objective
from tests.models.families import random_batch, tiny_config

from .monitored import events, trainer

TASK = SingleLabel(("a", "b", "c"))
LABELS = TASK.config_entries()
STILL = ["encoder.hidden_dropout=0.0", "encoder.attention_dropout=0.0", "model.head.dropout=0.0"]
LENGTHS = [3, 5, 9, 4, 17]
# Lightning's, of trainings as small as these
QUIET = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        ".*does not have many workers",
        ".*isinstance.treespec, LeafSpec",
        "You defined a `validation_step` but have no `val_dataloader`",
        "The number of training batches .* is smaller than the logging interval",
    )
]


def batches_of(count=4, lengths=LENGTHS, seed=0):
    return [random_batch(lengths, seed=seed + number) for number in range(count)]


def module_of(
    family="bert",
    *,
    kind="residual",
    dropout=0.0,
    loss=None,
    max_tokens=4096,
    checkpointing=False,
    freeze_layers=None,
    **terms,
):
    """A ``ClassificationModule`` with fresh weights, always the same."""
    torch.manual_seed(0)
    config = tiny_config(family, **LABELS)
    set_dropout(config, dropout, dropout)
    if kind == "linear":
        for name in ("classifier_dropout", "classifier_dropout_prob", "cls_dropout", "seq_classif_dropout"):
            if hasattr(config, name):
                setattr(config, name, dropout)
        classifier = LinearClassifier(empty_sequence_classifier(config))
    else:
        classifier = ResidualClassifier(empty_encoder(config), hidden_sizes=[16], dropout=dropout)
    if checkpointing:
        classifier.encoder.activation_checkpointing_enable({"use_reentrant": False})
        classifier.encoder.disable_input_require_grads()
    if freeze_layers is not None:
        freeze(classifier.encoder, freeze_layers)
    return ClassificationModule(
        classifier.train(),
        task=TASK,
        objective=Objective(loss or CrossEntropy(), LossTerms(**terms), TASK),
        optimizer=LayerwiseOptimizer(partial(AdamW, fused=True), lr=1e-2, weight_decay=0.1),
        schedule=Constant(),
        max_tokens=max_tokens,
    )


class Foreign(LightningModule):
    """transformers' classifier in an ordinary module."""

    def __init__(self, family="bert", optimizer=SGD):
        super().__init__()
        torch.manual_seed(0)
        config = tiny_config(family, **LABELS)
        set_dropout(config, 0.0, 0.0)
        self.model = AutoModelForSequenceClassification.from_config(config).train()
        self.optimizer = optimizer

    def training_step(self, batch, batch_idx):
        return self.model(**batch).loss

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=1e-2)


def padded(batch: TextBatch, extra=0) -> dict[str, torch.Tensor]:
    """The batch of transformers' collators, with ``extra`` columns of padding."""
    inputs = {"input_ids": pad(batch.input_ids, batch), "attention_mask": padding_mask(batch).long()}
    columns = {name: torch.nn.functional.pad(value, (0, extra)) for name, value in inputs.items()}
    return {**columns, "labels": batch.labels}


@dataclass
class Step:
    """One optimizer step: its batches, gradients before and after clipping, parameters before and after."""

    batches: list[Any]
    losses: list[float]
    gradients: dict[str, torch.Tensor]
    before: dict[str, torch.Tensor]
    clipped: dict[str, torch.Tensor] = field(default_factory=dict)
    after: dict[str, torch.Tensor] = field(default_factory=dict)


class Recorder(Callback):
    """Records each optimizer step."""

    def __init__(self):
        self.steps: list[Step] = []
        self._batches: list[Any] = []
        self._losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._batches.append(batch)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.steps.append(Step(self._batches, self._losses, _gradients(pl_module), _parameters(pl_module)))
        self._batches, self._losses = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.steps and not self.steps[-1].after and not self._batches:
            self.steps[-1].clipped, self.steps[-1].after = _gradients(pl_module), _parameters(pl_module)


class Poison(Callback):
    """Sets a non-finite gradient of some parameters in some steps."""

    def __init__(self, steps, *names, value=float("nan")):
        self.steps, self.names, self.value = steps, names, value

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step + 1 in self.steps:
            for name, parameter in pl_module.named_parameters():
                if name.endswith(self.names):
                    parameter.grad.view(-1)[-1] = self.value


def warnings_of(caplog) -> list[str]:
    """Warnings of our own loggers."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("bert_ft")
    ]


def _gradients(module):
    return {
        name: value.grad.detach().clone()
        for name, value in module.named_parameters()
        if value.grad is not None
    }


def _parameters(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def monitors(every_n_steps=1, histogram_every_n_steps=None, **gradients):
    """One of each kind."""
    when = {"every_n_steps": every_n_steps, "histogram_every_n_steps": histogram_every_n_steps}
    return [
        ActivationMonitor(**when),
        GradientMonitor(**when, **gradients),
        WeightMonitor(**when, distance=True),
        TrainingCurves(every_n_steps=every_n_steps),
    ]


def trainer_of(folder: Path, callbacks: Sequence[Callback] = (), **settings) -> Trainer:
    return trainer(folder, None, CSVLogger(folder, name="csv"), **{"callbacks": list(callbacks), **settings})


def loader(batches):
    return DataLoader(batches, batch_size=None)


def fit(folder: Path, module: LightningModule, callbacks, batches=None, **settings) -> list[Step]:
    """The steps of an epoch; what was logged is in ``folder``."""
    recorder = Recorder()
    running = trainer_of(folder, [recorder, *callbacks], **settings)
    running.fit(module, loader(batches_of() if batches is None else batches))
    return recorder.steps


PREFIXES = ("activations/", "gradients/", "weights/", "train/", "throughput/", "seconds/", "seconds_after/")


def logged(folder: Path, prefix: str | tuple[str, ...] = PREFIXES) -> dict[int, dict[str, float]]:
    """``{step: {name: value}}`` of names with the prefix in the csv files, which TensorBoard has too."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for path in sorted((folder / "csv").glob("version_*/metrics.csv")):
        with path.open() as file:
            for row in csv.DictReader(file):
                values = {
                    name: float(value) for name, value in row.items() if name.startswith(prefix) and value
                }
                if values:
                    found[int(row["step"])] |= values
    seen = events(folder / "tensorboard")
    shown: dict[int, dict[str, float]] = defaultdict(dict)
    for name in seen.Tags()["scalars"]:
        if name.startswith(prefix):
            for event in seen.Scalars(name):
                shown[event.step][name] = event.value
    assert shown.keys() == found.keys()
    for step, values in found.items():
        assert shown[step] == pytest.approx(values, rel=1e-6, nan_ok=True)
    return dict(sorted(found.items()))


def of_layers(values: dict[str, float], kind: str) -> dict[str, float]:
    """``{layer: value}`` of names like ``weights/layer.0/norm``."""
    matches = {re.fullmatch(rf"\w+/(.+)/{kind}", name): value for name, value in values.items()}
    return {match[1]: value for match, value in matches.items() if match}


def histograms(folder: Path, name: str) -> dict[int, Any]:
    """TensorBoard's histogram at each step."""
    return {event.step: event.histogram_value for event in events(folder / "tensorboard").Histograms(name)}


def assert_histograms(folder: Path, tag: str, expected: dict[int, dict], layer_of: dict[str, str]) -> None:
    """Each layer's histograms are those of all its values in ``{step: {parameter: values}}``."""
    for layer in set(layer_of.values()):
        found = histograms(folder, f"{tag}/{layer}")
        assert found.keys() == expected.keys()
        for step, histogram in found.items():
            parts = [value.flatten() for name, value in expected[step].items() if layer_of[name] == layer]
            values = torch.cat(parts)
            assert histogram.num == len(values)  # few enough for all
            assert histogram.min == pytest.approx(values.min().item(), rel=1e-6)
            assert histogram.max == pytest.approx(values.max().item(), rel=1e-6)


def group_of(module: LightningModule) -> dict[str, str]:
    """Name of a parameter → its layer, by the groups of the optimizer that a run would have."""
    names = {id(value): name for name, value in module.named_parameters()}
    copy = deepcopy(module.classifier).requires_grad_(True)
    layers = copy.encoder.config.num_hidden_layers
    groups = module.optimizer.groups(copy.named_parameters(), layers)
    own = {id(value): f"classifier.{name}" for name, value in copy.named_parameters()}
    found = {own[id(value)]: group["name"] for group in groups for value in group["params"]}
    return {name: found[name].split("/")[0] for name in names.values() if name in found}


def bert_layers(module: LightningModule) -> dict[str, str]:
    """The same for any module around a BERT, by the names of its parameters."""

    def layer(name: str) -> str:
        if ".embeddings." in name:
            return "embeddings"
        return "layer." + name.split(".layer.")[1].split(".")[0] if ".layer." in name else "head"

    return {name: layer(name) for name, _ in module.named_parameters()}


def norms(values: dict[str, torch.Tensor], layer_of: dict[str, str]) -> dict[str, float]:
    """``{layer: L2 norm}`` in float64."""
    squares: dict[str, float] = dict.fromkeys(layer_of.values(), 0.0)
    for name, value in values.items():
        squares[layer_of[name]] += float((value.double().numpy() ** 2).sum())
    return {layer: float(np.sqrt(square)) for layer, square in squares.items()}


def minus(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """In float64."""
    return {name: value.double() - other[name].double() for name, value in one.items()}


def total(layers: dict[str, float]) -> float:
    return float(np.sqrt(sum(value**2 for value in layers.values())))


def with_parameters(classifier, parameters):
    """A copy in evaluation mode with a recorded module's parameters."""
    copy = deepcopy(classifier).eval()
    with torch.no_grad():
        for name, value in copy.named_parameters():
            value.copy_(parameters[f"classifier.{name}"])
    return copy
