"""A classifier as a LightningModule: step, optimizer, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from bert_ft import layout
from bert_ft.data.long_texts import LongTexts
from bert_ft.data.packing import TextBatch
from bert_ft.data.tokenization import FastTokenizer
from bert_ft.errors import CheckpointError
from bert_ft.kernels.used_embedding_rows import trained_rows
from bert_ft.models.classifier import Classifier
from bert_ft.models.last_layer import share_score
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.tasks.task import Task
from bert_ft.training.encoder_module import EncoderModule, MultiplierSchedule
from bert_ft.training.frozen_cache import FrozenStates
from bert_ft.training.objective import Objective
from bert_ft.training.pretrained import CHECKPOINT_KEY, Pretrained, parts_of, pretrained
from bert_ft.training.resume import TRAINED_ROWS_KEY, check_same_training
from bert_ft.training.shared_weights import read_checkpoint


class AveragedWeights(Protocol):
    """Protocol of a callback that averages the weights during training."""

    name: str

    @property
    def num_averaged(self) -> int:
        """Number of steps averaged so far; 0: averaging hasn't started, and the module's own weights are used."""

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return the state to validate, save and test instead of the module's own, once averaging has started."""


class ClassificationModule(EncoderModule):
    """Train a ``Classifier`` on packed batches.

    Args:
        classifier: the model.
        task: computes the metrics, and the plain loss of validation and test, so that runs with different
            losses are comparable.
        objective: what training minimizes.
        optimizer: builds the optimizer over layer-wise groups.
        schedule: learning-rate multiplier over all optimizer steps.
        weight_decay_schedule: weight-decay multiplier over all optimizer steps; ``None`` = constant.
        max_tokens: a training batch of more tokens is computed in parts (see ``Objective``).
        frozen_states: cache of the output of the encoder's frozen part; ``None`` = it is always computed.
        metrics: metrics over a whole split, besides the task's; they are copied.

    Attributes:
        averaging: set by a callback that averages the weights.
        pretrained: what ``from_pretrained`` loaded, which its checkpoints describe.

    Example:
        >>> module = bert_ft.ClassificationModule.from_pretrained("tiny_encoder", labels=["negative", "positive"])
        >>> data = bert_ft.TextDataModule.from_frame(frame, module.tokenizer, batch_size=8)
        >>> trainer = lightning.Trainer(max_steps=2, logger=False, enable_checkpointing=False, **quiet)
        >>> trainer.fit(module, data)
        >>> trainer.global_step
        2
    """

    averaging: AveragedWeights | None = None
    pretrained: Pretrained | None = None

    def __init__(
        self,
        classifier: Classifier,
        *,
        task: Task,
        objective: Objective,
        optimizer: LayerwiseOptimizer,
        schedule: MultiplierSchedule,
        weight_decay_schedule: MultiplierSchedule | None = None,
        max_tokens: int,
        frozen_states: FrozenStates | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer, schedule=schedule, weight_decay_schedule=weight_decay_schedule)
        if task.has_one_score:
            share_score(classifier)
        self.classifier = classifier
        self.task = task
        self.objective = objective
        self.max_tokens = max_tokens
        self.frozen_states = frozen_states
        self._more_metrics = metrics
        self.val_metrics = split_metric_collection(task, layout.VAL, metrics)
        self.test_metrics = split_metric_collection(task, layout.TEST, metrics)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        labels: Sequence[Any] | None = None,
        *,
        optimizer: LayerwiseOptimizer | float | None = None,
        schedule: MultiplierSchedule | None = None,
        max_length: int | None = None,
        long_texts: LongTexts | None = None,
        trust: Sequence[str] = (),
    ) -> Self:
        """Return a module for a Lightning script of your own, with the defaults of ``conf/``.

        Its checkpoints hold labels and tokenizer, so that ``load_from_checkpoint`` needs only their path.

        Args:
            name_or_path: an encoder, as a name on the hub or a folder; or a saved model.
            labels: names of the classes, for a new head; ``None``: a saved model is trained further with its own.
            optimizer: a ``bert_ft.optim.layerwise.LayerwiseOptimizer``, or the learning rate of the default one; ``None``: the
                rate by the encoder's size.
            schedule: of ``bert_ft.optim.schedules``; ``None``: a warm-up over a tenth of the steps, then a linear decay.
            max_length: maximum number of tokens of a text; ``None``: 128, or what the encoder takes; of a saved model, its own.
            long_texts: what becomes of longer texts, e.g. ``LongTexts("windows", stride=16)`` of ``bert_ft.data.long_texts``;
                ``None``: they are cut; of a saved model, its own.
            trust: patterns of the names of your own classes that a saved model may name.

        Raises:
            ValueError: the encoder can't be used, or labels are needed.

        Example:
            >>> module = bert_ft.ClassificationModule.from_pretrained("tiny_encoder", labels=["no", "yes"], optimizer=1e-4)
            >>> module.labels, module.optimizer.lr
            (('no', 'yes'), 0.0001)
        """
        found = pretrained(name_or_path, labels, max_length, trust, long_texts)
        module = cls(**parts_of(found, optimizer, schedule))
        module.pretrained = found
        return module

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning passes hyper-parameters, of which there are none
        cls,
        checkpoint_path: str | Path,
        *,
        optimizer: LayerwiseOptimizer | float | None = None,
        schedule: MultiplierSchedule | None = None,
        trust: Sequence[str] = (),
    ) -> Self:
        """Return the module that a trainer saved, if ``from_pretrained`` had made it; the arguments are as there.

        Raises:
            ValueError: the file is no such checkpoint.
        """
        checkpoint = read_checkpoint(checkpoint_path)
        if CHECKPOINT_KEY not in checkpoint:
            raise CheckpointError(
                f"{checkpoint_path}: isn't a checkpoint of a module that from_pretrained made; load the run's folder with "
                "bert_ft.load, or resume it with resume_from"
            )
        found = Pretrained.of_files(checkpoint[CHECKPOINT_KEY], trust)
        module = cls(**parts_of(found, optimizer, schedule))
        module.pretrained = found
        module.load_state_dict(checkpoint["state_dict"])
        return module

    @property
    def tokenizer(self) -> FastTokenizer:
        """Tokenizer of a module of ``from_pretrained``; others have theirs in the data module."""
        if self.pretrained is None:
            raise AttributeError("this module has no tokenizer; the data module has it")
        return self.pretrained.tokenizer

    @property
    def long_texts(self) -> LongTexts:
        """What becomes of texts that are longer than the limit; pass it to ``TextDataModule.from_frame``."""
        return LongTexts() if self.pretrained is None else self.pretrained.long_texts

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.task.names

    def test_with(self, task: Task) -> None:
        """Test, and save, with this task instead of the one of training, as it was calibrated on validation rows."""
        self.task = task
        self.test_metrics = split_metric_collection(task, layout.TEST, self._more_metrics).to(self.device)

    def setup(self, stage: str) -> None:
        """Forget the averaging of an earlier trainer."""
        if self.averaging not in self.trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it late
            self.averaging = None

    @property
    def trained(self) -> Classifier:
        return self.classifier

    def forward(self, batch: TextBatch) -> Tensor:
        return self.classifier(batch, self.max_tokens)

    def training_step(self, batch: TextBatch, batch_index: int) -> Tensor:
        batch = self._with_states(batch, "train")
        assert batch.labels is not None
        loss, terms = self.objective(self.classifier, batch, self.max_tokens)
        if batch.cu_windows is None and self.trainer.world_size > 1:
            for parameter in self.classifier.window_pooling.parameters():
                loss = loss + 0 * parameter.sum()  # processes wait for the gradient of every parameter
        plain = self.objective.plain_loss
        self.log(layout.TRAIN_LOSS, loss.detach(), batch_size=len(batch), prog_bar=plain is None)
        if plain is not None:
            self.log(layout.TRAIN_LOSS_PLAIN, plain, batch_size=len(batch), prog_bar=True)
        self.log_dict(
            {f"{layout.TRAIN_LOSS}_{name}": value for name, value in terms.items()}, batch_size=len(batch)
        )
        return self.weighted(loss, self.objective.weight(batch.labels), len(batch), batch_index)

    def validation_step(self, batch: TextBatch, batch_index: int) -> dict[str, Any]:
        """Return ``logits``, ``labels`` and ``features`` of the batch and its ``rows`` of the split, for callbacks."""
        return self._evaluate(self._with_states(batch, "validation"), layout.VAL_LOSS, self.val_metrics)

    def test_step(self, batch: TextBatch, batch_index: int) -> dict[str, Any]:
        return self._evaluate(self._with_states(batch, "test"), layout.TEST_LOSS, self.test_metrics)

    def predict_step(self, batch: TextBatch, batch_index: int) -> dict[str, Tensor]:
        """Return ``logits``, ``outputs`` (of classes: probabilities) and ``rows`` of the batch, in the order of its rows."""
        logits = self(batch).float()
        return {"logits": logits, "outputs": self.task.outputs(logits), "rows": batch.as_given(batch.rows)}

    def _with_states(self, batch: TextBatch, split: str) -> TextBatch:
        if (
            self.frozen_states is None or self.trainer.sanity_checking
        ):  # no rows are kept of these: they have different batches
            return batch
        return self.frozen_states.attach(batch, split)

    def _evaluate(self, batch: TextBatch, loss_name: str, metrics: MetricCollection) -> dict[str, Any]:
        assert batch.labels is not None
        features = self.classifier.features(batch, self.max_tokens)
        logits = self.classifier.logits(features).float()
        loss = self.task.plain_loss(logits, batch.labels)
        self.log(loss_name, loss, batch_size=len(batch), on_epoch=True, sync_dist=True)
        if (
            not self.trainer.sanity_checking
        ):  # of a few rows, perhaps of one class, a metric may have no value
            metrics.update(*self.task.metric_inputs(logits, batch.labels))
            self.log_dict(metrics, batch_size=len(batch), on_epoch=True)
        return {"logits": logits, "labels": batch.labels, "features": features, "rows": batch.rows}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.averaging is not None and self.averaging.num_averaged:
            # callbacks don't see a checkpoint that has only weights
            checkpoint["state_dict"] = self.averaging.averaged_weights()
        checkpoint[TRAINED_ROWS_KEY] = trained_rows(self.classifier)
        if self.pretrained is not None:
            checkpoint[CHECKPOINT_KEY] = self.pretrained.files()

    @property
    def weights_name(self) -> str:
        """Which weights are validated and saved: ``raw``, or the name of the averaging."""
        if self.averaging is None or not self.averaging.num_averaged:
            return "raw"
        return self.averaging.name

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        check_same_training(
            checkpoint,
            averaging=None if self.averaging is None else self.averaging.name,
            trained_rows=trained_rows(self.classifier),
        )


def split_metric_collection(
    task: Task, prefix: str, more: Mapping[str, Metric] | None = None
) -> MetricCollection:
    """Return the task's metrics over a whole split, and copies of ``more``."""
    return MetricCollection(
        {**task.metrics(), **deepcopy(dict(more or {}))},
        prefix=prefix,
        compute_groups=False,  # torchmetrics decides by the first batch, which can make different metrics look equal
    )
