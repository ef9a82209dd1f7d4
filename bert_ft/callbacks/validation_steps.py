"""Validate after given optimizer steps, whichever epoch they fall into."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from bert_ft.compat.lightning import num_batches_begun
from bert_ft.training.accumulation import ends_window


class ValidationSteps(Callback):
    """Validate after these optimizer steps (``trainer.val_check_interval=auto``).

    Lightning can only validate every so many batches, which misses the last step unless their number is a multiple. It must
    come before callbacks that ask whether a validation follows.

    Args:
        steps: numbers of optimizer steps done.
    """

    def __init__(self, steps: Collection[int]) -> None:
        self.steps = frozenset(steps)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            trainer.val_check_interval, trainer.check_val_every_n_epoch = 1, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell Lightning whether the step that a run is resumed from was validated."""
        begun = num_batches_begun(trainer)
        is_step = begun % trainer.accumulate_grad_batches == 0 or begun >= trainer.num_training_batches
        self._set(trainer, is_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._set(trainer, ends_window(trainer, batch_idx))

    def _set(self, trainer: Trainer, is_step: bool) -> None:
        # the loop validates after batches whose number is a multiple
        trainer.val_check_batch = 1 if is_step and trainer.global_step in self.steps else sys.maxsize
