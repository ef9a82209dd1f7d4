"""Uses of Lightning (2.6) that have no public API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor


def is_fitting(trainer: Trainer) -> bool:
    """Return whether ``Trainer.fit`` runs, including its validations."""
    # no public API: in them ``trainer.training`` and ``trainer.validating`` are both false.
    return trainer.state.fn is TrainerFn.FITTING


def set_max_epochs(trainer: Trainer, epochs: int) -> None:
    """Set the number of epochs of a trainer that exists already; -1 = no limit."""
    # no public API: ``max_epochs`` belongs to the constructor, but depends on the trainer's processes and limits.
    trainer.fit_loop.max_epochs = epochs


def num_batches_begun(trainer: Trainer) -> int:
    """Return how many batches of the epoch were given to training, including the current one."""
    # no public API: a trainer counts only optimizer steps and epochs.
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def is_within_epoch(trainer: Trainer) -> bool:
    """Return whether an epoch has begun and isn't counted as done, though its batches may be."""
    # no public API: ``trainer.current_epoch`` increases some time after an epoch's last batch.
    done = trainer.fit_loop.epoch_progress.current
    return done.completed < done.ready


def validates_next(trainer: Trainer) -> bool:
    """Return whether a validation follows the training batch that has just been done.

    A checkpoint taken before it would skip it when resumed.

    The public way that is missing: only the loop knows when it validates.
    """
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    is_last_step = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    return is_last_step or loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def ends_epoch(trainer: Trainer) -> bool:
    """Return whether the training batch that has just been done is the epoch's last.

    The public way that is missing: a trainer counts optimizer steps and epochs only.
    """
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def end_epoch(checkpoint: dict[str, Any]) -> None:
    """Count an epoch whose batches are done as completed, in a checkpoint that is about to be loaded.

    With ``max_steps`` Lightning 2.6 would resume within that epoch, and train on one batch too many.
    """
    # no public API: no API changes the state of the loops in a checkpoint.
    progress = checkpoint["loops"]["fit_loop"]
    epochs, batches = progress["epoch_progress"], progress["epoch_loop.batch_progress"]
    current = epochs["current"]
    if current["ready"] == current["processed"] == current["completed"] + 1:
        for counts in (current, epochs["total"]):
            counts["completed"] = counts["processed"]
        batches |= {"current": dict.fromkeys(batches["current"], 0), "is_last_batch": False}


def finds_unused_parameters(trainer: Trainer) -> bool:
    """Return whether a strategy of several processes allows parameters without a gradient."""
    # no public API: ``DDPStrategy`` takes ``find_unused_parameters``, but has no attribute for it.
    settings: dict[str, Any] = getattr(trainer.strategy, "_ddp_kwargs", {})
    return bool(settings.get("find_unused_parameters"))


class NamedEpochs(RichProgressBar):
    """A ``RichProgressBar`` whose subclass names the epochs; Lightning counts them from 0."""

    # no public API: the description of the bar is private.

    def epoch_name(self, epoch: int) -> str:
        """Return what to call the epoch of this number, from 0."""
        return f"Epoch {epoch + 1}"

    def _get_train_description(self, current_epoch: int) -> str:
        # as wide as the other description: no flicker
        return f"{self.epoch_name(current_epoch):{len(self.validation_description)}}"


class DecidingCheckpoint(ModelCheckpoint):
    """A ``ModelCheckpoint`` whose subclass decides when it looks and what it keeps."""

    # no public API: when it looks is an argument of the constructor, too early to know whether anything is validated; and
    # only a metric decides what it keeps

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.saved_steps: dict[str, int] = {}  # by the file's name

    def look_at_epoch_end(self, yes: bool) -> None:
        """Look after each training epoch, or else after each validation, unless the settings say which."""
        if self._save_on_train_epoch_end is None:
            self._save_on_train_epoch_end = yes

    def is_kept(self, trainer: Trainer, current: Tensor | None, is_best: bool) -> bool:
        """Return whether to save the weights that ``trainer`` has just validated.

        ``current`` is their metric, ``None`` if nothing is monitored; ``is_best`` is ``ModelCheckpoint``'s answer.
        """
        return is_best

    @property
    def step_of_best(self) -> int | None:
        """The step that the best checkpoint was saved at; ``None`` where that isn't known."""
        return self.saved_steps.get(Path(self.best_model_path).name)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "saved_steps": dict(self.saved_steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.saved_steps = dict(state_dict.get("saved_steps", {}))

    def forget_best(self) -> None:
        """Count no checkpoint as the best so far: the next one becomes it."""
        self.best_model_path, self.best_model_score = "", None
        self.kth_best_model_path, self.best_k_models = "", {}

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        self.saved_steps[Path(filepath).name] = (
            trainer.global_step
        )  # before, as it is a part of what is saved
        super()._save_checkpoint(trainer, filepath)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        return self.is_kept(trainer, current, super().check_monitor_top_k(trainer, current))
