"""Checkpoints of weights that have just been validated."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from bert_ft.compat.lightning import DecidingCheckpoint
from bert_ft.training.resume import step_of

log = logging.getLogger(__name__)


class ValidatedCheckpoint(DecidingCheckpoint):
    """Saved after every validation, within an epoch or at its end; without validation, after each epoch.

    ``ModelCheckpoint`` waits for the end of an epoch that is validated once. From there Lightning 2.6 doesn't
    resume exactly: with ``max_steps`` it first runs an empty epoch, and each later epoch has the order of the
    one after it.

    If several checkpoints of a metric are kept, their names include the step, unless ``filename``
    distinguishes them: otherwise each would replace the one before.

    Args:
        settings: arguments of ``ModelCheckpoint``.
    """

    def __init__(self, **settings: Any) -> None:
        filename = settings.get("filename")
        if (
            settings.get("monitor")
            and settings.get("save_top_k", 1) not in (0, 1)
            and filename
            and "{" not in filename
        ):
            settings["filename"] = f"{filename}-{{step}}"
        super().__init__(**settings)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Forget a best checkpoint whose file has been removed or replaced.

        A run that was killed between the two writes has a best checkpoint newer than the one it is resumed
        from. The next validation repeats the one that made it.
        """
        super().load_state_dict(state_dict)
        if self.monitor is None or not self.best_model_path or self.step_of_best is None:
            return
        step = step_of(self.best_model_path)
        if step != self.step_of_best:
            if step is None or step < self.step_of_best:
                log.warning(
                    "%s was removed or replaced since step %s; the best checkpoint is chosen from later ones",
                    self.best_model_path,
                    self.step_of_best,
                )
            self.forget_best()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.look_at_epoch_end(trainer.limit_val_batches == 0)
