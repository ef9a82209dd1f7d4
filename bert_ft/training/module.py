"""A classifier as a LightningModule: the step, the optimizer, the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.checkpoint import checkpoint
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from bert_ft.data.packing import TextBatch
from bert_ft.errors import CheckpointError
from bert_ft.models.classifier import Classifier
from bert_ft.models.encoder import num_encoder_layers
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.schedules import Schedule
from bert_ft.training.frozen_cache import FrozenStates
from bert_ft.training.vocabulary import decay_unused_rows, trained_rows

TRAINED_ROWS_KEY = "trained_rows"
VAL_METRICS_KEY = "val_metrics"


class ClassificationModule(LightningModule):
    """Trains a ``Classifier`` on packed batches.

    Args:
        classifier: the model.
        loss: of ``(logits, labels)``, for training; validation and test take plain cross entropy, so
            that runs with different losses compare.
        optimizer: builds the optimizer over layer-wise groups.
        schedule: learning-rate multiplier over all optimizer steps.
        max_tokens: a training batch with more tokens is computed in pieces, each recomputed in the
            backward pass: the result is that of the whole batch, memory that of one piece.
        frozen_states: gives each batch the output of the encoder's frozen part; ``None`` runs it every time.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        loss: nn.Module,
        optimizer: LayerwiseOptimizer,
        schedule: Schedule,
        max_tokens: int,
        frozen_states: FrozenStates | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.max_tokens = max_tokens
        self.frozen_states = frozen_states
        self.val_metrics = classification_metrics(classifier.num_labels, "val/")
        self.test_metrics = classification_metrics(classifier.num_labels, "test/")

    def forward(self, batch: TextBatch) -> Tensor:
        return self.classifier(batch)

    def training_step(self, batch: TextBatch, batch_index: int) -> Tensor:
        batch = self._with_states(batch, "train")
        loss = self.loss(self._training_logits(batch), batch.labels)
        self.log("train/loss", loss.detach(), batch_size=len(batch), prog_bar=True)
        return loss

    def _training_logits(self, batch: TextBatch) -> Tensor:
        pieces = batch.split(self.max_tokens)
        if len(pieces) == 1:
            return self.classifier(batch)
        return torch.cat([checkpoint(self.classifier, piece, use_reentrant=False) for piece in pieces])

    def validation_step(self, batch: TextBatch, batch_index: int) -> None:
        self._evaluate(self._with_states(batch, "validation"), "val/loss", self.val_metrics)

    def test_step(self, batch: TextBatch, batch_index: int) -> None:
        self._evaluate(self._with_states(batch, "test"), "test/loss", self.test_metrics)

    def _with_states(self, batch: TextBatch, split: str) -> TextBatch:
        return batch if self.frozen_states is None else self.frozen_states.attach(batch, split)

    def _evaluate(self, batch: TextBatch, loss_name: str, metrics: MetricCollection) -> None:
        assert batch.labels is not None
        logits = self.classifier(batch).float()
        loss = F.cross_entropy(logits, batch.labels)
        self.log(loss_name, loss, batch_size=len(batch), on_epoch=True, sync_dist=True)
        metrics.update(logits, batch.labels)
        self.log_dict(metrics, batch_size=len(batch), on_epoch=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer.build(
            self.classifier.named_parameters(), num_encoder_layers(self.classifier.encoder)
        )
        decay_unused_rows(self.classifier, optimizer)
        multiplier = self.schedule.multiplier(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, multiplier)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Lightning's clipping, and that of a fused optimizer under mixed precision, which it refuses.

        It refuses since such an optimizer unscales gradients only in its step. Unscaled here, before
        they are clipped, torch's scaler knows not to do it again.
        """
        plugin = self.trainer.precision_plugin
        fused = any(group.get("fused") for group in optimizer.param_groups)
        if not (gradient_clip_val and fused and isinstance(plugin, MixedPrecision)):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        if plugin.scaler is not None:
            plugin.scaler.unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if gradient_clip_algorithm == "value":
            clip_grad_value_(parameters, gradient_clip_val)
        else:
            clip_grad_norm_(parameters, gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The validation values of these very weights travel with them."""
        checkpoint[VAL_METRICS_KEY] = split_metrics(self.trainer.callback_metrics, "val/")
        checkpoint[TRAINED_ROWS_KEY] = trained_rows(self.classifier)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse an optimizer whose moments are of other rows: fused AdamW would take them as they lie."""
        if checkpoint.get(TRAINED_ROWS_KEY, []) != trained_rows(self.classifier):
            raise CheckpointError(
                "resume_from: the run trained other rows of the token embedding than this one would; go on "
                "with the same training texts, on the same kind of device"
            )


def classification_metrics(num_labels: int, prefix: str) -> MetricCollection:
    """``accuracy`` and ``f1_macro`` over a whole split, as scikit-learn computes them."""
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_labels, average="micro"),
            "f1_macro": MulticlassF1Score(num_labels, average="macro"),
        },
        prefix=prefix,
    )


def split_metrics(metrics: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The metrics of one split as plain floats, without the split's prefix."""
    return {
        name.removeprefix(prefix): float(value) for name, value in metrics.items() if name.startswith(prefix)
    }
