"""Which checkpoint of a run is kept."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from bert_ft.callbacks.standard_error import CountsValidationRows
from bert_ft.callbacks.validated_checkpoint import ValidatedCheckpoint
from bert_ft.limits import NotNegative, within_limits


class BestCheckpoint(CountsValidationRows, ValidatedCheckpoint):
    """Keeps the latest checkpoint that can't be distinguished from the best one.

    On a few hundred validation rows, the highest of ten scores is often just luck, and the end of a schedule
    improves the weights. So a later checkpoint is preferred if it is within a standard error of the best (the
    rule of Breiman et al., *Classification and Regression Trees*, 1984, for choosing among models). For a
    share ``p`` of ``n`` rows that is ``sqrt(p (1 - p) / n)``. With many rows it is close to 0, and the best
    is kept.

    This applies to a metric between 0 and 1 where higher is better, and ``save_top_k=1``; otherwise the class
    behaves like ``ValidatedCheckpoint``.

    Args:
        standard_errors: by how many of them a later checkpoint may be worse; 0 = not at all.
        settings: arguments of ``ModelCheckpoint``.
    """

    @within_limits("callbacks.best_checkpoint")
    def __init__(self, *, standard_errors: NotNegative = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.standard_errors = standard_errors
        self._best = -math.inf  # of all validations, whether their checkpoint is still kept or not

    def is_kept(self, trainer: Trainer, current: Tensor | None, is_best: bool) -> bool:
        if current is None or self.mode != "max" or self.save_top_k != 1:
            return is_best
        value = float(current)
        is_close = value >= self._best - self._tolerance(trainer)
        if value > self._best:
            self._best = value
        # alike on all processes, as the metric is
        return bool(trainer.strategy.reduce_boolean_decision(is_best or is_close))

    def _tolerance(self, trainer: Trainer) -> float:
        return self.standard_errors * self.standard_error_of(self._best, trainer, self.monitor)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._best = state_dict["best"]
