"""Fine-tuning, from the encoder to the saved classifier."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from bert_ft import layout
from bert_ft.data.targets import LabelNames
from bert_ft.evaluation.scored import Scored
from bert_ft.evaluation.training_labels import LABELS, training_labels
from bert_ft.models.bundle import save_bundle
from bert_ft.models.outputs import compute_outputs_and_logits
from bert_ft.models.weight_transfer import hand_over
from bert_ft.tasks.label_values import TEXTS
from bert_ft.tasks.thresholds import THRESHOLDS
from bert_ft.training.calibration import calibrate
from bert_ft.training.collected_outputs import CollectedOutputs
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.encoder_module import split_metrics
from bert_ft.training.measured_splits import MeasuredSplits, save_judged_rows
from bert_ft.training.module import ClassificationModule
from bert_ft.training.pretraining import Pretraining
from bert_ft.training.stage import Stage
from bert_ft.training.summary import print_pretraining

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class FineTuning(Stage):
    """The main job, ready to run; only the data report has been written yet.

    Attributes:
        max_length: limit of a text's length, in tokens.
        tests: whether the kept weights are evaluated on the test split.
        calibrates: whether the logits are divided by a temperature, if that lowers the loss of the validation rows.
        settings: the run's settings, for TensorBoard's table of hyper-parameters.
        pretraining: the stage before it.
        label_column: name of the source's label column, or of several.
        label_type: what the labels are; see ``bert_ft.tasks.label_values``.
        reinit_layers: number of top layers of the pre-trained encoder to reinitialize.
    """

    module: ClassificationModule
    data: TextDataModule
    max_length: int
    tests: bool = True
    calibrates: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    pretraining: Pretraining | None = None
    reinit_layers: int = 0
    label_column: LabelNames = "label"
    label_type: str = TEXTS
    _pretraining: dict[str, Any] | None = field(default=None, init=False)
    _training_labels: dict[str, Any] = field(default_factory=dict, init=False)
    _validation_scores: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def run(self) -> dict[str, Any]:
        """Pre-train if configured, fit, load the best checkpoint and, if ``tests`` says so, evaluate it once.

        Writes ``metrics.json`` and ``model/``.

        Raises:
            CheckpointError: ``resume_from`` can't be read.
        """
        try:
            record = self.train(self.folder)
            if self.trainer.is_global_zero:
                self._log_settings(record)
            self.tidy()
            return record
        finally:  # at once: the next job of a sweep needs the space
            if self.module.frozen_states is not None:
                self.module.frozen_states.close()

    def begin(self) -> None:
        """Copy the encoder of the pre-training stage into the classifier, whose head is new."""
        if self.pretraining is None:
            return
        stage, self.pretraining = self.pretraining, None
        if self.resume_from is None:  # else the checkpoint has the weights
            with stage.encoder() as folder:
                self.seed_all()  # layers may be reinitialized
                hand_over(folder, self.module.classifier.encoder, reinit_layers=self.reinit_layers)
            if self.trainer.is_global_zero:
                print_pretraining(stage.record, stage.folder)
        else:
            self.module.has_initial_weights = False
        self._pretraining = stage.record
        del stage
        gc.collect()  # the stage's weights and its optimizer's, which refer to each other in circles
        self.seed_all()  # whether the stage was trained or cached

    def own_record(self, step: int) -> dict[str, Any]:
        """Calibrate the task on the validation split, evaluate the test split; return the record of both."""
        self._training_labels = training_labels(self.module.task, self.data.data.splits["train"].known_labels)
        measured, splits = MeasuredSplits(self._training_labels), self.data.data.splits
        for prefix, name in (("val", "validation"), *([("test", "test")] if self.tests else [])):
            if name in splits:
                measured.guess_for(prefix, self.module.task, splits[name].known_labels)
        calibration = self._calibrate(measured)
        pretraining = {} if self._pretraining is None else {"pretraining": self._pretraining}
        return {
            "test": self._test(step, measured),
            **measured.record(),
            **({"calibration": calibration} if calibration else {}),
            "labels": list(self.module.task.names),
            "rows": {name: len(split) for name, split in splits.items()},
            **pretraining,
        }

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        save_bundle(
            folder,
            self.module.classifier,
            self.module.task,
            self.tokenizer,
            max_length=self.max_length,
            text_column=self.data.data.text_column,
            text_pair_column=self.data.data.text_pair_column,
            label_column=self.label_column,
            label_type=self.label_type,
            long_texts=self.data.data.long_texts,
            validation_scores=self._validation_scores,
            training={
                name: record[name] for name in ("weights", "val", "test", "pretraining") if name in record
            }
            | {LABELS: self._training_labels},
        )

    def _test(self, step: int, measured: MeasuredSplits) -> dict[str, float] | None:
        if not self.tests or "test" not in self.data.data.splits:
            return None
        collected = CollectedOutputs()
        self.trainer.callbacks.append(collected)  # type: ignore[attr-defined]  # Lightning sets it late
        try:
            self.trainer.test(self.module, self.data, verbose=False)
        finally:
            self.trainer.callbacks.remove(collected)  # type: ignore[attr-defined]
        if seen := collected.joined(self.trainer):
            rows = seen["rows"]
            scored = Scored(
                self.module.task, seen["logits"], self.data.data.splits["test"].known_labels[rows]
            )
            measured.add("test", scored)
            if self.trainer.is_global_zero:
                folder = self.folder / layout.TEST_FOLDER
                save_judged_rows(folder, step, scored, rows, texts=self.data.texts, sources=self.data.sources)
        return split_metrics(self.trainer.callback_metrics, layout.TEST)

    def _calibrate(self, measured: MeasuredSplits) -> dict[str, Any]:
        """Score the validation rows with the kept weights and calibrate the model by them; return the record."""
        module, split = self.module, self.data.data.splits.get("validation")
        if hasattr(module.classifier.config, THRESHOLDS):  # of the folder that the encoder came from
            delattr(module.classifier.config, THRESHOLDS)
        with_temperature = self.calibrates and self.trainer.limit_val_batches == 1.0
        if split is None or not (with_temperature or module.task.is_calibrated):
            return {}
        # in float32, as `bert_ft.predict` computes them, whatever the precision of training
        _, logits = compute_outputs_and_logits(
            module.classifier,
            module.task,
            split,
            batch_size=self.data.eval_batch_size,
            max_tokens=module.max_tokens,
            device=module.device,
        )
        if self.trainer.limit_val_batches == 1.0:
            measured.add("val", Scored(module.task, logits, split.known_labels))  # as validation measured it
        logits, record = calibrate(module, logits, split.known_labels, with_temperature=with_temperature)
        self._validation_scores = {"logits": logits, "targets": split.known_labels}
        return record

    def _log_settings(self, record: Mapping[str, Any]) -> None:
        """Log the run as a row of TensorBoard's table of hyper-parameters."""
        splits = {"val": record["val"], "test": record["test"] or {}}
        metrics = {
            f"{layout.KEPT}{split}_{name}": value
            for split, values in splits.items()
            for name, value in values.items()
            if math.isfinite(value)
        }
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.settings, metrics)
                logger.experiment.flush()
