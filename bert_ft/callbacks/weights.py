"""Weights of each layer: their size, how far a step moves them, and their distance from the start."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from bert_ft import layout
from bert_ft.callbacks.averaging import Averaging
from bert_ft.callbacks.monitor import Monitor, callbacks_of
from bert_ft.callbacks.monitored import has_initial_weights
from bert_ft.compat.torch import differences
from bert_ft.kernels.used_embedding_rows import settled_parameters
from bert_ft.limits import Count, within_limits
from bert_ft.models.parameter_layers import Layers
from bert_ft.training.clipping import norms_of

log = logging.getLogger(__name__)


class WeightMonitor(Monitor):
    """Each layer's weight norm, update-to-weight ratio, and distance from the weights before training.

    The ratio is the norm of one step's change over the norm of the weights before it; about 1e-3 is usual.

    Args:
        every_n_steps: see ``Monitor``; a monitored step needs memory for another copy of the weights.
        distance: log the distance from the weights before training, which keeps a copy of them; with averaging also
            the distance between the average and the weights of training.
    """

    @within_limits("monitor.weights")
    def __init__(
        self,
        *,
        every_n_steps: Count = 25,
        distance: bool = False,
        histogram_every_n_steps: Count | None = None,
    ) -> None:
        super().__init__(every_n_steps=every_n_steps, histogram_every_n_steps=histogram_every_n_steps)
        self.distance = distance
        self._layers: Layers | None = None
        self._initial: list[Tensor] = []
        self._previous: list[Tensor] = []
        self._kinds: list[str] = []  # in the reading, in its order

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or not self.distance:
            return
        if has_initial_weights(pl_module):  # before the weights of a resumed run are loaded
            self._initial = _copied(pl_module)
        elif trainer.is_global_zero:
            log.warning(
                "monitor: weights/…/distance ends here: fine-tuning started with the weights of the pre-training stage, "
                "which a resumed run doesn't have"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._layers = Layers.of(pl_module)
        self._initial = [value.to(pl_module.device) for value in self._initial]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.looks_at(trainer.global_step + 1):
            self._previous = _copied(pl_module)

    def after_batch(self, trainer: Trainer, module: LightningModule, outputs: Any, is_step: bool) -> None:
        if not self._previous:
            return
        assert self._layers is not None
        layers, parameters = self._layers, list(module.parameters())
        weights = settled_parameters(module)

        def norms(values: list[Tensor]) -> Tensor:
            return layers.norms(parameters, norms_of(values))

        before, change = norms(self._previous), norms(differences(weights, self._previous))
        self._previous = []
        seen = {layout.NORM: norms(weights), layout.UPDATE_RATIO: change / before}
        if self._initial:
            seen[layout.DISTANCE] = norms(differences(weights, self._initial))
        if self.distance and (average := _average(trainer)) is not None:
            seen[layout.AVERAGING_DRIFT] = norms(differences(weights, average))
        self._kinds, self.reading = list(seen), torch.cat([*seen.values()])
        if self.wants_histograms(trainer.global_step):
            samples = layers.samples(dict(zip(parameters, weights, strict=True)))
            self.keep_samples(trainer, layout.WEIGHTS, samples)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._initial = []

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self._initial, self._previous = [], []

    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        assert self._layers is not None
        return {
            layout.tag(layout.WEIGHTS, name, kind): value
            for kind, values in zip(self._kinds, readings[0].view(len(self._kinds), -1).tolist(), strict=True)
            for name, value in zip(self._layers.names, values, strict=True)
        }


def _copied(module: LightningModule) -> list[Tensor]:
    return [value.clone() for value in settled_parameters(module)]


def _average(trainer: Trainer) -> list[Tensor] | None:
    """Return the averaged weights in the order of the module's parameters; ``None`` before the first average."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, Averaging) and callback.num_averaged:
            return callback.averaged_parameters()
    return None
