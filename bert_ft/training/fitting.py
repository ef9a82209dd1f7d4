"""Fit any module: train, load the kept checkpoint, and say why training ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from bert_ft import layout
from bert_ft.compat.lightning import DecidingCheckpoint
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.signals import Signals
from bert_ft.training import resume
from bert_ft.training.dry_run import DryRun
from bert_ft.training.encoder_module import split_metrics
from bert_ft.training.interruption import Interruptible
from bert_ft.training.resume import VAL_METRICS_KEY, WEIGHTS_KEY
from bert_ft.training.shared_weights import read_checkpoint
from bert_ft.training.summary import print_resume


@dataclass(frozen=True)
class KeptWeights:
    """The weights that are tested and saved.

    Attributes:
        checkpoint: their file; ``None`` for the weights at the end of training.
        epoch: epochs done when they were saved, as a fraction.
        step: optimizer steps done when they were saved.
        val: their validation metrics; empty if nothing was validated.
        weights: ``raw``, or the name of the averaging.
    """

    checkpoint: Path | None
    epoch: float
    step: int
    val: dict[str, float]
    weights: str

    def to_dict(self, folder: Path) -> dict[str, object]:
        """Return the origin of the weights, for the record of the run in ``folder``."""
        path = self.checkpoint
        if path is not None and path.is_relative_to(folder):
            path = path.relative_to(folder)
        return {"path": None if path is None else str(path), "epoch": self.epoch, "step": self.step}


@dataclass(frozen=True)
class Fitted:
    """The result of a training.

    Attributes:
        seconds: duration of the training.
        stopped: why it ended, as shown to the user.
    """

    seconds: float
    stopped: str


def fit(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    resume_from: str | None,
    signals: Signals | None = None,
) -> Fitted:
    """Train, from the start or from a checkpoint.

    Args:
        trainer: a Trainer that hasn't trained yet.
        module: the module to train.
        data: its data.
        resume_from: the checkpoint to resume from; ``None`` = from the start.
        signals: signals that end training after the current step.

    Raises:
        CheckpointError: ``resume_from`` can't be read.
        ConfigError: the dry run before the first step found a setting that can't work.
        Interrupted: a signal was received; if training had started, its state is saved.
    """
    if resume_from is not None:
        step = resume.prepare(trainer, module, resume_from)
        if trainer.is_global_zero:
            print_resume(Path(resume_from), step)
    signals = signals or Signals()
    last = Interruptible(signals)
    trainer.callbacks += [DryRun(), last]  # type: ignore[attr-defined]  # Lightning sets it late
    try:
        trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)
    except MisconfigurationException as error:  # such as a share of the batches that is none
        raise ConfigError(f"trainer: {error}") from error
    finally:
        signals.waits = False
    signals.end_if_received()
    # now: the number of steps is that of training's loader, which a validation or test puts away
    return Fitted(last.seconds, _why_stopped(trainer))


def take_best(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, metric: str, name_of_last: str
) -> KeptWeights:
    """Load the checkpoint kept by ``metric``; without one, validate and keep the last weights.

    Args:
        trainer: the Trainer that has fitted the module.
        module: the module after training.
        data: its data.
        metric: the metric that decided which checkpoint was kept.
        name_of_last: ``KeptWeights.weights`` of the last weights.
    """
    best = _best_path(trainer, metric)
    if best is None:  # training ended before the first validation
        step = trainer.global_step
        trainer.validate(module, data, verbose=False)
        val = split_metrics(trainer.callback_metrics, layout.VAL)
        return KeptWeights(None, _epochs(trainer, step), step, val, name_of_last)
    checkpoint = read_checkpoint(best)
    _check_is_best(trainer, metric, best, checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    step = checkpoint["global_step"]
    return KeptWeights(
        best, _epochs(trainer, step), step, checkpoint[VAL_METRICS_KEY], checkpoint[WEIGHTS_KEY]
    )


def kept_by(trainer: Trainer) -> Iterator[str]:
    """Yield the metrics by which checkpoints are kept."""
    return (callback.monitor for callback in _checkpoints(trainer) if callback.monitor is not None)


def _why_stopped(trainer: Trainer) -> str:
    stopper = trainer.early_stopping_callback
    if stopper is not None and stopper.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
        if stopper.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            since = getattr(stopper, "step_of_best", 0)
            return (
                f"no better {stopper.monitor} for {layout.counted(stopper.wait_count, 'validation')}"
                f"{f', since step {since}' if since else ''}: ended at step {trainer.global_step} of "
                f"{trainer.estimated_stepping_batches:.0f}"
            )
        if stopper.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
            return f"{stopper.monitor} is no longer finite: training diverged"
        return str(stopper.stopping_reason_message)  # a threshold that the user has set
    if trainer.global_step < trainer.estimated_stepping_batches:
        return "trainer.max_time is over"
    return "all steps done"


def _epochs(trainer: Trainer, step: int) -> float:
    steps_each = -(-trainer.num_training_batches // trainer.accumulate_grad_batches)
    return round(step / steps_each, 2)


def _best_path(trainer: Trainer, metric: str) -> Path | None:
    for callback in _checkpoints(trainer):
        if callback.monitor == metric:
            return Path(callback.best_model_path) if callback.best_model_path else None
    return None


def _check_is_best(trainer: Trainer, metric: str, path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a file that isn't the best validated checkpoint, for example one that another callback has overwritten."""
    callback = next(each for each in _checkpoints(trainer) if each.monitor == metric)
    step = callback.step_of_best if isinstance(callback, DecidingCheckpoint) else None
    score, found = (
        callback.best_model_score,
        checkpoint.get(VAL_METRICS_KEY, {}).get(metric.removeprefix(layout.VAL)),
    )
    is_other_step = step is not None and step != checkpoint["global_step"]
    # a metric that isn't finite is noted as the worst one
    is_other_value = (
        score is not None and found is not None and math.isfinite(found) and float(score) != found
    )
    if is_other_step or is_other_value:
        raise CheckpointError(
            f"{path}: holds step {checkpoint['global_step']} with {metric}={found}, but the best validated "
            "checkpoint was "
            f"{'' if step is None else f'of step {step} '}with {metric}={None if score is None else float(score)}; "
            "something else has overwritten this file, so nothing is tested or saved"
        )


def _checkpoints(trainer: Trainer) -> Iterator[ModelCheckpoint]:
    return (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
