"""Report the validations of a trial to its study, and stop the trial if others did better."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, Timer

from bert_ft.callbacks.standard_error import CountsValidationRows
from bert_ft.callbacks.validation_outputs import in_training
from bert_ft.errors import ConfigError
from bert_ft.search.results.kept_folders import STAGE_FOLDERS
from bert_ft.search.trials.trial_link import TrialLink, current_trial, leave


class TrialPruning(CountsValidationRows):
    """Report each validation of ``monitor`` with the optimizer steps done; do nothing outside of a search.

    A trial that is stopped leaves no checkpoint behind. On a few hundred validation rows a good trial is often slightly
    behind the others by chance at one of its validations, so only a trial that is further behind is stopped.

    Args:
        monitor: the metric.
        standard_errors: number of standard errors by which a trial may be behind before a pruner that
            compares trials at the same step may stop it, in a metric between 0 and 1 where higher is better.
    """

    def __init__(self, monitor: str, standard_errors: float = 1.0) -> None:
        self.monitor = monitor
        self.standard_errors = standard_errors
        self._link: TrialLink | None = None
        self._is_stopped = False
        self._has_begun = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self._link = current_trial()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._link is not None and not self._has_begun:
            self._has_begun = True
            seconds = self._link.seconds_since_claimed()
            self._link.note(seconds_to_first_step=round(seconds, 3), total_steps=total_steps(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not in_training(trainer):
            return
        if self.monitor not in trainer.callback_metrics:
            raise ConfigError(
                f"callbacks.trial_pruning.monitor={self.monitor}: nothing of that name was logged; choose one of "
                f"{', '.join(sorted(trainer.callback_metrics))}"
            )
        stop = False
        if self._link is not None:
            value = float(trainer.callback_metrics[self.monitor])
            tolerance = self.standard_errors * self.standard_error_of(value, trainer, self.monitor)
            if _timers(trainer):  # the estimate is better now
                self._link.note(total_steps=total_steps(trainer))
            stop = self._link.report(value, trainer.global_step, tolerance=tolerance)
        # on all processes of the trial, or they would wait for each other forever
        self._is_stopped = trainer.strategy.broadcast(stop)
        if self._is_stopped:
            self._note_end(trainer)
            leave(trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note_end(trainer)

    def _note_end(self, trainer: Trainer) -> None:
        if self._link is not None:
            self._link.note(steps=trainer.global_step, validated_rows=self.num_validated(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._is_stopped and trainer.is_global_zero:
            _remove_checkpoints(trainer)


def total_steps(trainer: Trainer) -> int | None:
    """Return how many optimizer steps the whole run will have; ``None`` if that isn't known.

    Under ``trainer.max_time`` it is extrapolated from the time that the steps so far have taken.
    """
    steps = trainer.estimated_stepping_batches
    known = [steps] if 0 < steps < float("inf") else []
    for timer in _timers(trainer):
        if (left := timer.time_remaining()) is not None and trainer.global_step:
            elapsed = max(timer.time_elapsed(), 1e-9)
            known.append(trainer.global_step * (elapsed + max(left, 0.0)) / elapsed)
    return max(trainer.global_step, round(min(known))) if known else None


def _timers(trainer: Trainer) -> list[Timer]:
    return [each for each in trainer.callbacks if isinstance(each, Timer)]  # type: ignore[attr-defined]


def _remove_checkpoints(trainer: Trainer) -> None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            folder = Path(callback.dirpath)
            if folder.is_relative_to(trainer.default_root_dir):
                shutil.rmtree(folder, ignore_errors=True)
    for name in STAGE_FOLDERS:
        shutil.rmtree(Path(trainer.default_root_dir, name), ignore_errors=True)
