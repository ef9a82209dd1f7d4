"""One training run from fit to the saved folder."""

from __future__ import annotations

import json
import math
import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loggers import TensorBoardLogger
from transformers import PreTrainedTokenizerFast

from bert_ft.errors import CheckpointError
from bert_ft.models.bundle import save_bundle
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.environment import package_versions
from bert_ft.training.module import VAL_METRICS_KEY, WEIGHTS_KEY, ClassificationModule, split_metrics
from bert_ft.training.precision import Precision


@dataclass(frozen=True)
class KeptWeights:
    """The weights that are tested and saved.

    Attributes:
        checkpoint: the file that they came from; ``None`` for the weights at the end of training.
        epoch: epochs done when they were taken, with a fraction.
        step: optimizer steps done when they were taken.
        val: their validation metrics; empty where nothing was validated.
        weights: ``raw``, or how they were averaged.
    """

    checkpoint: Path | None
    epoch: float
    step: int
    val: dict[str, float]
    weights: str


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

    def run(self) -> RunResult:
        """Fit, take the best checkpoint, test it once where ``tests`` says so, write ``metrics.json`` and ``model/``.

        Raises:
            CheckpointError: ``resume_from`` can't be read.
        """
        try:
            return self._run()
        finally:  # at once: the next job of a sweep needs the space
            if self.module.frozen_states is not None:
                self.module.frozen_states.close()

    def _run(self) -> RunResult:
        fit_seconds = self._fit()
        kept = self._take_best()
        test = self._test()
        result = RunResult(
            metric=self.metric,
            objective=kept.val.get(self.metric.removeprefix("val/"), float("nan")),
            kept=kept,
            test=test,
            fit_seconds=fit_seconds,
            stopped=self._why_stopped(),
            precision=self.precision.effective,
            folder=self.folder,
        )
        if self.trainer.is_global_zero:
            self._write(result)
            self._log_settings(result)
        return result

    def _fit(self) -> float:
        if self.resume_from is not None:
            self._check_resumable(self.resume_from)
            # Lightning does this after it has loaded the weights, which would round those of 64 bits
            self.trainer.precision_plugin.convert_module(self.module)
        started = time.monotonic()
        self.trainer.fit(self.module, self.data, ckpt_path=self.resume_from, weights_only=True)
        return time.monotonic() - started

    def _check_resumable(self, path: str) -> None:
        try:
            state = torch.load(path, map_location="meta", weights_only=True)["state_dict"]
        except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"resume_from={path}: isn't a checkpoint of a run, or is damaged"
            ) from error
        ours = {name: value.shape for name, value in self.module.state_dict().items()}
        if ours != {name: value.shape for name, value in state.items()}:
            raise CheckpointError(f"resume_from={path}: is of another model than the one configured")

    def _take_best(self) -> KeptWeights:
        best = self._best_path()
        if best is None:  # training ended before the first validation
            step = self.trainer.global_step
            self.trainer.validate(self.module, self.data, verbose=False)
            val = split_metrics(self.trainer.callback_metrics, "val/")
            return KeptWeights(None, self._epochs(step), step, val, self.module.weights_name)
        checkpoint = torch.load(best, map_location="cpu", weights_only=True)
        self.module.load_state_dict(checkpoint["state_dict"])
        step = checkpoint["global_step"]
        return KeptWeights(
            best, self._epochs(step), step, checkpoint[VAL_METRICS_KEY], checkpoint[WEIGHTS_KEY]
        )

    def _epochs(self, step: int) -> float:
        steps_each = -(-self.trainer.num_training_batches // self.trainer.accumulate_grad_batches)
        return round(step / steps_each, 2)

    def _best_path(self) -> Path | None:
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.monitor == self.metric:
                return Path(callback.best_model_path) if callback.best_model_path else None
        return None

    def _test(self) -> dict[str, float] | None:
        if not self.tests or "test" not in self.data.data.splits:
            return None
        self.trainer.test(self.module, self.data, verbose=False)
        return split_metrics(self.trainer.callback_metrics, "test/")

    def _why_stopped(self) -> str:
        stopper = self.trainer.early_stopping_callback
        if stopper is not None and stopper.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            if stopper.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
                return f"no better {stopper.monitor} for {stopper.patience} validations"
            if stopper.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
                return f"{stopper.monitor} is no longer finite: training diverged"
            return str(stopper.stopping_reason_message)  # a threshold that somebody has set
        if (
            self.trainer.max_steps != self.trainer.global_step
            and self.trainer.fit_loop.epoch_progress.current.completed < (self.trainer.max_epochs or 0)
        ):
            return "trainer.max_time is over"
        return "all steps done"

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
        save_bundle(
            self.folder / "model",
            self.module.classifier,
            self.tokenizer,
            max_length=self.max_length,
            text_column=self.data.data.text_column,
            text_pair_column=self.data.data.text_pair_column,
            training={"weights": result.kept.weights, "val": result.kept.val, "test": result.test},
        )
        record = {
            "val": result.kept.val,
            "test": result.test,
            "weights": result.kept.weights,
            "objective": {"metric": result.metric, "value": result.objective},
            "checkpoint": {
                "path": None
                if result.kept.checkpoint is None
                else str(result.kept.checkpoint.relative_to(self.folder)),
                "epoch": result.kept.epoch,
                "step": result.kept.step,
            },
            "stopped": result.stopped,
            "seed": self.seed,
            "precision": {"requested": self.precision.requested, "effective": self.precision.effective},
            "labels": list(self.data.data.labels.names),
            "rows": {name: len(split) for name, split in self.data.data.splits.items()},
            "fit_seconds": round(result.fit_seconds, 3),
            "versions": package_versions(),
        }
        write_json(self.folder / "metrics.json", record)


def _without_nan(values: Any) -> Any:
    """``values`` with ``None`` for NaN and infinity, which JSON doesn't have: those of a run that diverged."""
    if isinstance(values, dict):
        return {key: _without_nan(value) for key, value in values.items()}
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values


def write_json(path: Path, content: Any) -> None:
    """``content`` as indented JSON, NaN and infinity as ``null``."""
    text = json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
