"""Metrics of soft labels; targets are the shares of the classes, ``(rows, classes)``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

_EQUAL = 1e-6  # shares that differ by less are equal


class OfMajority(Metric):
    """A metric of class ids, over the rows in which one class has most votes; 0 if none has."""

    is_differentiable = False
    full_state_update = False
    rows: Tensor

    def __init__(self, metric: Metric, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metric = metric
        self.add_state("rows", torch.zeros((), dtype=torch.int64), "sum")

    def update(self, logits: Tensor, shares: Tensor) -> None:
        """Add rows, ``(rows, classes)`` each."""
        most, majority = shares.max(1)
        decided = (shares >= most[:, None] - _EQUAL).sum(1) == 1
        self.rows += decided.sum()
        if decided.any():
            self.metric.update(logits[decided], majority[decided])

    def compute(self) -> Tensor:
        """Return the metric."""
        return self.metric.compute() if self.rows else torch.zeros((), device=self.rows.device)

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.metric.reset()


class MeanDivergence(Metric):
    """The mean Kullback-Leibler divergence of the predictions from the shares, in nats; 0 if they are equal."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    rows: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("rows", torch.zeros((), dtype=torch.float64), "sum")

    def update(self, logits: Tensor, shares: Tensor) -> None:
        """Add rows, ``(rows, classes)`` each."""
        shares = shares.double()
        self.total += (torch.xlogy(shares, shares) - shares * logits.double().log_softmax(1)).sum()
        self.rows += len(shares)

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.rows
