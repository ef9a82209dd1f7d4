"""By how much two validations may differ by chance."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


def standard_error(share: float, num_rows: int) -> float:
    """Return ``sqrt(p (1 - p) / n)`` for a share of ``num_rows`` rows, such as an accuracy; 0 if it isn't a share."""
    if not 0 <= share <= 1 or not num_rows:
        return 0.0
    return math.sqrt(share * (1 - share) / num_rows)


class CountsValidationRows(Callback):
    """A callback that counts the rows of the latest validation."""

    _num_rows = 0  # on this process

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._num_rows = 0

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *indices: Any
    ) -> None:
        self._num_rows += len(batch)

    def standard_error_of(self, share: float, trainer: Trainer) -> float:
        """Return the ``standard_error`` of a share of the rows of all processes."""
        return standard_error(share, self._num_rows * trainer.world_size)
