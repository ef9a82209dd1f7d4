"""How far two validations may lie apart by chance."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


def standard_error(share: float, num_rows: int) -> float:
    """Of a share of ``num_rows`` rows, such as an accuracy: ``sqrt(p (1 - p) / n)``; 0 of what is no share, or of no rows."""
    if not 0 <= share <= 1 or not num_rows:
        return 0.0
    return math.sqrt(share * (1 - share) / num_rows)


class CountsValidationRows(Callback):
    """A callback that knows how many rows the latest validation had."""

    _num_rows = 0  # on this process

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._num_rows = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._num_rows += len(batch)

    def standard_error_of(self, share: float, trainer: Trainer) -> float:
        """``standard_error`` of a share of the rows of all processes."""
        return standard_error(share, self._num_rows * trainer.world_size)
