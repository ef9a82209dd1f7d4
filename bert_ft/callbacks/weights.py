"""Weights of each layer: how large they are, how far a step moves them, how far they have come."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from bert_ft import layout
from bert_ft.callbacks.averaging import Averaging
from bert_ft.callbacks.monitor import HistogramMonitor, callbacks_of
from bert_ft.callbacks.monitored import has_initial_weights
from bert_ft.compat.torch import differences
from bert_ft.kernels.used_embedding_rows import settled_parameters
from bert_ft.limits import Count, within_limits
from bert_ft.models.parameter_layers import Layers
from bert_ft.training.clipping import norms_of

log = logging.getLogger(__name__)


class WeightMonitor(HistogramMonitor):
    """Each layer's weight norm and update-to-weight ratio, and its distance from where training began.

    The ratio is the norm of one step's change over the norm of the weights before it; about 1e-3 is usual.

    Args:
        every_n_steps: see ``Monitor``. A step that is looked at needs memory for another copy of the weights.
        distance: log the distance from the weights before training, which keeps a copy of them; under an averaging
            also that of the average from the weights of training.
        histogram_every_n_steps: see ``HistogramMonitor``.
    """

    @within_limits("monitor.weights")
    def __init__(
        self, *, every_n_steps: Count, distance: bool = False, histogram_every_n_steps: Count | None = None
    ) -> None:
        super().__init__(every_n_steps=every_n_steps, histogram_every_n_steps=histogram_every_n_steps)
        self.distance = distance
        self._layers: Layers | None = None
        self._initial: list[Tensor] = []
        self._previous: list[Tensor] = []
        self._has_drift = False
        self._has_origin = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or not self.distance:
            return
        self._has_origin = has_initial_weights(pl_module)
        if self._has_origin:  # before the weights of a resumed run are loaded
            self._initial = _copied(pl_module)
        elif trainer.is_global_zero:
            log.warning(
                "monitor: weights/…/distance ends here: the weights that fine-tuning began with were the pre-training stage's, "
                "which a resumed run doesn't have"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._layers = Layers.of(pl_module)
        self._initial = [value.to(pl_module.device) for value in self._initial]

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self.looks_at(trainer.global_step + 1):
            self._previous = _copied(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._previous:
            self._look(trainer, pl_module)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._initial = []

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self._initial, self._previous = [], []

    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        assert self._layers is not None
        kinds = (
            [layout.NORM, layout.UPDATE_RATIO]
            + [layout.DISTANCE] * self._has_origin
            + [layout.AVERAGING_DRIFT] * self._has_drift
        )
        return {
            layout.tag(layout.WEIGHTS, name, kind): value
            for kind, values in zip(kinds, readings[0].view(len(kinds), -1).tolist(), strict=True)
            for name, value in zip(self._layers.names, values, strict=True)
        }

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._layers is not None
        parameters, weights = list(pl_module.parameters()), settled_parameters(pl_module)

        def norms(values: list[Tensor]) -> Tensor:
            assert self._layers is not None
            return self._layers.norms(parameters, norms_of(values))

        before, change = norms(self._previous), norms(differences(weights, self._previous))
        self._previous = []
        seen = [norms(weights), change / before]
        if self._initial:
            seen.append(norms(differences(weights, self._initial)))
        average = _average(trainer)
        self._has_drift = self.distance and average is not None
        if self._has_drift and average is not None:
            seen.append(norms(differences(weights, average)))
        self.reading = torch.cat(seen)
        if self.wants_histograms(trainer.global_step):
            samples = self._layers.samples(dict(zip(parameters, weights, strict=True)))
            self.keep_samples(trainer, ((f"{layout.WEIGHTS}{name}", sample) for name, sample in samples))


def _copied(module: LightningModule) -> list[Tensor]:
    return [value.clone() for value in settled_parameters(module)]


def _average(trainer: Trainer) -> list[Tensor] | None:
    """The averaged weights, in the order of the module's parameters; ``None`` as long as there are none."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, Averaging) and callback.num_averaged:
            return callback.averaged_parameters()
    return None
