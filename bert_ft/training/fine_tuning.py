"""Fine-tuning, from the encoder to the saved classifier."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from bert_ft import layout
from bert_ft.models.bundle import save_bundle
from bert_ft.models.weight_transfer import hand_over
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.encoder_module import split_metrics
from bert_ft.training.module import ClassificationModule
from bert_ft.training.pretraining import Pretraining
from bert_ft.training.stage import Stage
from bert_ft.training.summary import print_pretraining


@dataclass(kw_only=True)
class FineTuning(Stage):
    """The main job; so far only the data report has been written.

    Attributes:
        max_length: limit of a text's length, in tokens.
        tests: whether the kept weights are evaluated on the test split.
        settings: the run's settings, for TensorBoard's table of hyper-parameters.
        pretraining: the stage before it.
        label_column: name of the source's label column.
        reinit_layers: number of top layers of the pre-trained encoder to reinitialize.
    """

    module: ClassificationModule
    data: TextDataModule
    max_length: int
    tests: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    pretraining: Pretraining | None = None
    reinit_layers: int = 0
    label_column: str = "label"
    _pretraining: dict[str, Any] | None = field(default=None, init=False)

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

    def own_record(self) -> dict[str, Any]:
        """Evaluate the test split."""
        pretraining = {} if self._pretraining is None else {"pretraining": self._pretraining}
        return {
            "test": self._test(),
            "labels": list(self.module.task.names),
            "rows": {name: len(split) for name, split in self.data.data.splits.items()},
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
            long_texts=self.data.data.long_texts,
            training={
                name: record[name] for name in ("weights", "val", "test", "pretraining") if name in record
            },
        )

    def _test(self) -> dict[str, float] | None:
        if not self.tests or "test" not in self.data.data.splits:
            return None
        self.trainer.test(self.module, self.data, verbose=False)
        return split_metrics(self.trainer.callback_metrics, layout.TEST)

    def _log_settings(self, record: Mapping[str, Any]) -> None:
        """The run as a line of TensorBoard's table of hyper-parameters."""
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
