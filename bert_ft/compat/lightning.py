"""What Lightning has no public way for (as of 2.6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor


def is_fitting(trainer: Trainer) -> bool:
    """Return whether ``Trainer.fit`` runs, which also validates.

    The public way that is missing: ``trainer.training`` is false during the validations of a fit, where
    ``trainer.validating`` is false, too.
    """
    return trainer.state.fn is TrainerFn.FITTING


def set_max_epochs(trainer: Trainer, epochs: int) -> None:
    """Set the length of training of a trainer that has been built; -1 = no limit.

    The public way that is missing: ``max_epochs`` is an argument of the constructor only, and how long a run will be
    depends on what the trainer knows: its processes, and its limits of batches and steps.
    """
    trainer.fit_loop.max_epochs = epochs


def num_batches_begun(trainer: Trainer) -> int:
    """Return how many batches of the epoch were given to training, the current one included.

    The public way that is missing: a trainer counts optimizer steps and epochs only.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def is_within_epoch(trainer: Trainer) -> bool:
    """Return whether an epoch has begun and isn't counted as done, though its batches may be.

    The public way that is missing: ``trainer.current_epoch`` is raised some time after an epoch's last batch.
    """
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

    For where ``max_steps`` is set: there Lightning 2.6 continues within such an epoch, and does a batch too much.

    The public way that is missing: the state of the loops in a checkpoint can't be changed by an API.
    """
    progress = checkpoint["loops"]["fit_loop"]
    epochs, batches = progress["epoch_progress"], progress["epoch_loop.batch_progress"]
    current = epochs["current"]
    if current["ready"] == current["processed"] == current["completed"] + 1:
        for counts in (current, epochs["total"]):
            counts["completed"] = counts["processed"]
        batches |= {"current": dict.fromkeys(batches["current"], 0), "is_last_batch": False}


def finds_unused_parameters(trainer: Trainer) -> bool:
    """Return whether a strategy of several processes allows parameters without a gradient.

    The public way that is missing: ``DDPStrategy`` takes ``find_unused_parameters``, and doesn't tell it.
    """
    settings: dict[str, Any] = getattr(trainer.strategy, "_ddp_kwargs", {})
    return bool(settings.get("find_unused_parameters"))


class DecidingCheckpoint(ModelCheckpoint):
    """A ``ModelCheckpoint`` whose subclass decides when it looks and what it keeps.

    The public way that is missing: when it looks is an argument of the constructor, where it isn't known yet whether
    anything will be validated; what it keeps can be ordered by a metric only.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.saved_steps: dict[str, int] = {}  # by the file's name

    def look_at_epoch_end(self, yes: bool) -> None:
        """Look after each training epoch, or else after each validation; settings that say which are left alone."""
        if self._save_on_train_epoch_end is None:
            self._save_on_train_epoch_end = yes

    def is_kept(self, trainer: Trainer, current: Tensor | None, is_best: bool) -> bool:
        """Return whether the weights as they are now are to be saved.

        Args:
            trainer: that has just validated them.
            current: their metric; ``None`` where nothing is monitored.
            is_best: what ``ModelCheckpoint`` says.
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

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        self.saved_steps[Path(filepath).name] = (
            trainer.global_step
        )  # before, as it is a part of what is saved
        super()._save_checkpoint(trainer, filepath)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        return self.is_kept(trainer, current, super().check_monitor_top_k(trainer, current))
