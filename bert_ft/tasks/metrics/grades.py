"""Metrics of grades over a whole split, equal to scikit-learn's over the whole scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class GradeScore(Metric):
    """One score of predicted positions on a scale.

    Args:
        kind: ``quadratic_kappa`` (0 where it is 0 / 0, as all rows and predictions have one grade), ``mae`` in steps of the
            scale, or ``accuracy``.
        num_grades: length of the scale, whether all its grades occur or not.
    """

    is_differentiable = False
    full_state_update = False
    confusion: Tensor

    def __init__(self, kind: str, num_grades: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.add_state("confusion", torch.zeros(num_grades, num_grades, dtype=torch.float64), "sum")

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Add rows, ``(rows,)`` positions each."""
        size = len(self.confusion)
        counts = torch.bincount(true * size + predicted, minlength=size * size)
        self.confusion += counts.view(size, size)

    def compute(self) -> Tensor:
        """Return the score, a scalar."""
        counts, total = self.confusion, self.confusion.sum()
        steps = torch.arange(len(counts), device=counts.device, dtype=torch.float64)
        distance = (steps[:, None] - steps).abs()
        if self.kind == "accuracy":
            return counts.trace() / total
        if self.kind == "mae":
            return (counts * distance).sum() / total
        by_chance = counts.sum(1)[:, None] * counts.sum(0) / total
        expected = (by_chance * distance**2).sum()
        return 1 - (counts * distance**2).sum() / expected if expected else expected
