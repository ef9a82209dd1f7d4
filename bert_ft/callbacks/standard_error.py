"""How much two validations may differ by chance."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from bert_ft.standard_error import standard_error


class CountsValidationRows(Callback):
    """A callback that counts the rows of the latest validation."""

    _num_rows = 0  # on this process

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._num_rows = 0

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *indices: Any
    ) -> None:
        self._num_rows += len(batch)

    def num_validated(self, trainer: Trainer) -> int:
        """Return the number of rows of the latest validation on all processes."""
        return self._num_rows * trainer.world_size

    def standard_error_of(self, value: float, trainer: Trainer, metric: str | None) -> float:
        """Return the ``standard_error`` of a metric of the rows of all processes."""
        return standard_error(value, self.num_validated(trainer), metric or "")
