"""One training run from fit to the saved folder."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from transformers import PreTrainedTokenizerFast

from bert_ft.models.bundle import save_bundle
from bert_ft.models.handover import hand_over
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.encoder_module import split_metrics
from bert_ft.training.environment import package_versions
from bert_ft.training.fitting import KeptWeights, fit, take_best
from bert_ft.training.json_file import write_json
from bert_ft.training.module import ClassificationModule
from bert_ft.training.precision import Precision
from bert_ft.training.pretraining_run import PretrainingRun
from bert_ft.training.pretraining_summary import print_pretraining


@dataclass(frozen=True)
class RunResult:
    """What a run reached, and on which weights.

    Attributes:
        metric: name of the objective, e.g. ``val/accuracy``.
        objective: its value for the kept weights; NaN where nothing was validated.
        kept: the weights.
        test: their test metrics; ``None`` without a labelled test split.
        fit_seconds: wall time of training and validation.
        stopped: why training ended.
        precision: that it ran in.
        folder: the run's folder.
    """

    metric: str
    objective: float
    kept: KeptWeights
    test: dict[str, float] | None
    fit_seconds: float
    stopped: str
    precision: str
    folder: Path

    def value(self, name: str) -> float:
        """``fit_seconds``, or a validation metric of the kept weights by its name, such as ``val/loss``."""
        if name == "fit_seconds":
            return self.fit_seconds
        return self.kept.val.get(name.removeprefix("val/"), float("nan"))


@dataclass
class TrainingRun:
    """All that a run needs, built and checked; only the data report has been written yet."""

    module: ClassificationModule
    data: TextDataModule
    trainer: Trainer
    tokenizer: PreTrainedTokenizerFast
    folder: Path
    metric: str
    max_length: int
    seed: int
    precision: Precision
    resume_from: str | None = None
    tests: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    pretraining: PretrainingRun | None = None
    reinit_layers: int = 0
    _pretraining: dict[str, Any] | None = None

    def run(self) -> RunResult:
        """Adapt the encoder where that is wanted, fit, take the best checkpoint, test it once where ``tests`` says so.

        Writes ``metrics.json`` and ``model/``.

        Raises:
            CheckpointError: ``resume_from`` can't be read.
        """
        try:
            return self._run()
        finally:  # at once: the next job of a sweep needs the space
            if self.module.frozen_states is not None:
                self.module.frozen_states.close()

    def _run(self) -> RunResult:
        self._pretrain()
        fitted = fit(self.trainer, self.module, self.data, self.resume_from)
        kept = take_best(self.trainer, self.module, self.data, self.metric, self.module.weights_name)
        test = self._test()
        result = RunResult(
            metric=self.metric,
            objective=kept.val.get(self.metric.removeprefix("val/"), float("nan")),
            kept=kept,
            test=test,
            fit_seconds=fitted.seconds,
            stopped=fitted.stopped,
            precision=self.precision.effective,
            folder=self.folder,
        )
        if self.trainer.is_global_zero:
            self._write(result)
            self._log_settings(result)
        return result

    def _pretrain(self) -> None:
        """Put the encoder of the pre-training stage into the classifier; its head stays fresh."""
        if self.pretraining is None:
            return
        stage, self.pretraining = self.pretraining, None
        if self.resume_from is None:  # else the checkpoint has the weights
            with stage.encoder() as folder:
                self._seed()  # layers may be drawn anew
                hand_over(folder, self.module.classifier.encoder, reinit_layers=self.reinit_layers)
            if self.trainer.is_global_zero:
                print_pretraining(stage.record, stage.folder)
        else:
            self.module.has_initial_weights = False
        self._pretraining = stage.record
        del stage
        gc.collect()  # the stage's weights and its optimizer's, which refer to each other in circles
        self._seed()

    def _seed(self) -> None:
        """Let the same numbers follow, whether the stage was trained or cached."""
        seed_everything(self.seed, workers=True, verbose=False)

    def _test(self) -> dict[str, float] | None:
        if not self.tests or "test" not in self.data.data.splits:
            return None
        self.trainer.test(self.module, self.data, verbose=False)
        return split_metrics(self.trainer.callback_metrics, "test/")

    def _log_settings(self, result: RunResult) -> None:
        """The run as a line of TensorBoard's table of hyper-parameters."""
        splits = {"val": result.kept.val, "test": result.test or {}}
        metrics = {
            f"kept/{split}_{name}": value
            for split, values in splits.items()
            for name, value in values.items()
            if math.isfinite(value)
        }
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.settings, metrics)
                logger.experiment.flush()

    def _write(self, result: RunResult) -> None:
        pretraining = {} if self._pretraining is None else {"pretraining": self._pretraining}
        save_bundle(
            self.folder / "model",
            self.module.classifier,
            self.module.task,
            self.tokenizer,
            max_length=self.max_length,
            text_column=self.data.data.text_column,
            text_pair_column=self.data.data.text_pair_column,
            training={
                "weights": result.kept.weights,
                "val": result.kept.val,
                "test": result.test,
                **pretraining,
            },
        )
        record = {
            "val": result.kept.val,
            "test": result.test,
            "weights": result.kept.weights,
            "objective": {"metric": result.metric, "value": result.objective},
            "checkpoint": result.kept.to_dict(self.folder),
            "stopped": result.stopped,
            "seed": self.seed,
            "precision": {"requested": self.precision.requested, "effective": self.precision.effective},
            "labels": list(self.module.task.names),
            "rows": {name: len(split) for name, split in self.data.data.splits.items()},
            "fit_seconds": round(result.fit_seconds, 3),
            "versions": package_versions(),
            **pretraining,
        }
        write_json(self.folder / "metrics.json", record)
