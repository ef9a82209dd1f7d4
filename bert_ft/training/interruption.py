"""Handle Ctrl-C, SIGTERM and a closed terminal during a stage: finish and save the step, then end the process.

Lightning handles SIGINT and SIGTERM itself: it ends with code 1 and 0, and saves nothing. So the handlers here replace
Python's before a stage starts, and Lightning's once training has started.

From the first step until Lightning has tidied up, a signal is only recorded. ``Interruptible`` checks for it after each batch,
or after the validation that follows it, saves a checkpoint, and raises ``Interrupted``. At other times a signal raises it
immediately. The second signal ends the process immediately.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from bert_ft.compat.lightning import ends_epoch, is_fitting, validates_next
from bert_ft.kernels.used_embedding_rows import saving_pending_decay
from bert_ft.signals import Signals, say


class Interruptible(Checkpoint):
    """Save a checkpoint when a signal was received, and count the seconds of training over all starts of a run.

    It must be the last callback, so that its checkpoint includes the work of the others.

    Args:
        signals: the signals received so far.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._seconds_before = 0.0
        self._started = time.monotonic()
        self._step = 0
        self._patience: dict[int, int] = {}

    @property
    def seconds(self) -> float:
        """Seconds of training, including those before the checkpoint that was resumed from."""
        return self._seconds_before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = state_dict["seconds"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._patience = {id(stopper): stopper.patience for stopper in _stoppers(trainer)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step
        self._signals.waits = True
        self._signals.install()  # Lightning has taken some
        for stopper in _stoppers(trainer):
            stopper.patience = self._patience[id(stopper)]  # the checkpoint's was loaded
            is_patient = stopper.wait_count < stopper.patience
            if is_patient and stopper.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
                stopper.stopping_reason = EarlyStoppingReason.NOT_STOPPED
            if stopper.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
                trainer.should_stop = True  # interrupted between the last validation and the end

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        is_whole_step, self._step = trainer.global_step > self._step, trainer.global_step
        if ends_epoch(trainer) or validates_next(trainer) or trainer.should_stop:
            return  # and is saved after the validation, or in the next epoch
        if trainer.world_size == 1 or is_whole_step:  # else each process has gradients of its own
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_fitting(trainer) and not trainer.sanity_checking and not trainer.should_stop:
            self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: Trainer) -> None:
        received = self._signals.received is not None
        if trainer.world_size > 1:
            received = trainer.strategy.reduce_boolean_decision(received, all=False)
        if not received:
            return
        path = checkpoint_path(trainer)
        if path is not None:
            with saving_pending_decay(trainer.lightning_module):
                trainer.save_checkpoint(path, weights_only=False)
        if self._signals.received is None:  # another process had it
            self._signals.received = signal.SIGTERM
        self._signals.end()


def checkpoint_path(trainer: Trainer) -> Path | None:
    """Return the checkpoint that the run would be resumed from; ``None`` if it keeps none."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is None and callback.save_top_k:
            metrics: dict[str, Any] = {}
            return Path(callback.best_model_path or callback.format_checkpoint_name(metrics))
    return None


def report(signals: Signals, step: int, path: Path | None, command: Callable[[], str]) -> None:
    """Print where a run was interrupted, and the command that resumes it."""
    where = f"interrupted at step {step}" if step else "interrupted before the first step"
    if path is None:
        say(f"{where}; there is no checkpoint to resume from (callbacks.last_checkpoint=null)")
    elif signals.received == signal.SIGHUP:
        say(f"{where} by a closed terminal; to continue: {command()}")
    else:
        say(f"{where}; to continue: {command()}")


def _stoppers(trainer: Trainer) -> list[EarlyStopping]:
    return [callback for callback in trainer.early_stopping_callbacks if isinstance(callback, EarlyStopping)]
