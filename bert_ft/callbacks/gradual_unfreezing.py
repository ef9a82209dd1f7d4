"""Layers that join the training one after the other, from the top.

Source: Howard and Ruder 2018, arXiv 1801.06146.
"""

from __future__ import annotations

import logging
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from bert_ft import layout
from bert_ft.compat.lightning import finds_unused_parameters
from bert_ft.errors import ConfigError
from bert_ft.limits import Count, CountOrZero, within_limits
from bert_ft.models.classifier import Classifier
from bert_ft.models.encoding import num_encoder_layers
from bert_ft.models.layer_names import layer_names
from bert_ft.optim.layers import layer_of

log = logging.getLogger(__name__)


class GradualUnfreezing(Callback):
    """Train only the head at first; then layers join one by one from the top, and finally the embeddings.

    A waiting layer has no gradient, so the optimizer leaves it as it is, weight decay included, and nothing below the
    lowest trained layer is kept for the backward pass. What ``encoder.freeze_layers`` froze stays frozen.

    Args:
        epochs_per_layer: epochs from one layer to the next.
        layers_at_start: number of layers trained from the first epoch on.
    """

    @within_limits("unfreezing")
    def __init__(self, *, epochs_per_layer: Count = 1, layers_at_start: CountOrZero = 0) -> None:
        self.epochs_per_layer = epochs_per_layer
        self.layers_at_start = layers_at_start
        self._waiting: list[tuple[int, nn.Parameter]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.world_size > 1 and not finds_unused_parameters(trainer):
            raise ConfigError(
                "unfreezing=gradual: several processes wait for the gradient of every layer; set "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning skips in a resumed epoch
        if trainer.is_global_zero:
            self._warn_of_layers_left_out(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        classifier = cast(Classifier, pl_module.classifier)
        num_layers = num_encoder_layers(classifier.encoder)
        if not self._waiting:  # the optimizer already has them all in its groups
            names = layer_names(classifier.encoder)
            self._waiting = [
                (layer_of(name, num_layers, names), parameter)
                for name, parameter in classifier.named_parameters()
                if parameter.requires_grad
            ]
        num_trained = self.layers_at_start + trainer.current_epoch // self.epochs_per_layer
        for depth, parameter in self._waiting:
            parameter.requires_grad_(depth > num_layers - num_trained)

    def _warn_of_layers_left_out(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps_each = max(1, -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches))
        num_epochs = -(-int(trainer.estimated_stepping_batches) // steps_each)
        num_layers = num_encoder_layers(cast(Classifier, pl_module.classifier).encoder)
        joined = self.layers_at_start + (num_epochs - 1) // self.epochs_per_layer
        left_out = sorted({depth for depth, _ in self._waiting if depth <= num_layers - joined}, reverse=True)
        if left_out:
            waits = num_layers - left_out[-1] + 1 - self.layers_at_start
            log.warning(
                "unfreezing: training ends after %s without training %s (the last would join in epoch %d); train "
                "longer, or raise unfreezing.layers_at_start (now %d)",
                layout.counted(num_epochs, "epoch"),
                ", ".join(f"layer.{depth - 1}" if depth else "the embeddings" for depth in left_out),
                waits * self.epochs_per_layer + 1,
                self.layers_at_start,
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for _, parameter in self._waiting:
            parameter.requires_grad_(True)
        self._waiting = []
