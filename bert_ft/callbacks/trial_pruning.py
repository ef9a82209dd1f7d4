"""A trial of a search tells its study how it does, and stops where others did better."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from bert_ft.callbacks.standard_error import CountsValidationRows
from bert_ft.compat.lightning import is_fitting
from bert_ft.errors import ConfigError
from bert_ft.search.results.kept_folders import STAGE_FOLDERS
from bert_ft.search.trials.trial_link import TrialLink, current_trial, leave


class TrialPruning(CountsValidationRows):
    """Reports each validation of the monitor by the optimizer steps done; outside of a search it does nothing.

    A trial that is stopped leaves no checkpoint behind. On a few hundred validation rows a good trial is often a little
    behind the others by chance, and is looked at several times: one that is stopped has to be further behind than that.

    Args:
        monitor: the metric.
        standard_errors: of a metric between 0 and 1 of which more is better, how many of them a trial may be behind before
            a pruner that compares trials at the same step judges it.
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
        if self._has_begun:
            return
        self._has_begun = True
        if self._link is not None:
            seconds = round(self._link.seconds_since_claimed(), 3)
            self._link.note(
                seconds_to_first_step=seconds, total_steps=_finite(trainer.estimated_stepping_batches)
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not is_fitting(trainer):
            return
        if self.monitor not in trainer.callback_metrics:
            raise ConfigError(
                f"callbacks.trial_pruning.monitor={self.monitor}: nothing of that name was logged; there are "
                f"{', '.join(sorted(trainer.callback_metrics))}"
            )
        stop = False
        if self._link is not None:
            value = float(trainer.callback_metrics[self.monitor])
            tolerance = self.standard_errors * self.standard_error_of(value, trainer)
            stop = self._link.report(value, trainer.global_step, tolerance=tolerance)
        # all processes of the trial, or they would wait for each other for ever
        self._is_stopped = trainer.strategy.broadcast(stop)
        if self._is_stopped:
            if self._link is not None:
                self._link.note(steps=trainer.global_step)
            leave(trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._link is not None:
            self._link.note(steps=trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._is_stopped and trainer.is_global_zero:
            _remove_checkpoints(trainer)


def _finite(steps: float) -> int | None:
    return int(steps) if 0 < steps < float("inf") else None


def _remove_checkpoints(trainer: Trainer) -> None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            folder = Path(callback.dirpath)
            if folder.is_relative_to(trainer.default_root_dir):
                shutil.rmtree(folder, ignore_errors=True)
    for name in STAGE_FOLDERS:
        shutil.rmtree(Path(trainer.default_root_dir, name), ignore_errors=True)
