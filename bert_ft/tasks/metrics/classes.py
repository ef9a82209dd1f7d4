"""Metrics of predicted classes that aren't the most probable ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchmetrics import Metric


class OfPredictions(Metric):
    """A metric of class ids, of what ``predicted`` makes of logits ``(rows, classes)``."""

    is_differentiable = False
    full_state_update = False

    def __init__(self, metric: Metric, predicted: Callable[[Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metric = metric
        self.predicted = predicted

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add rows; ``targets`` are ``(rows,)`` class ids."""
        self.metric.update(self.predicted(logits), targets)

    def compute(self) -> Tensor:
        """Return the metric."""
        return self.metric.compute()

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.metric.reset()
