"""Metrics of predicted numbers over a whole split, in double precision; the mean over targets if there are several."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from bert_ft.tasks.metrics.number_scores import number_scores


class NumberScore(Metric):
    """One of ``number_scores``."""

    is_differentiable = False
    full_state_update = False
    predicted: list[Tensor]
    true: list[Tensor]

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.add_state("predicted", [], "cat")
        self.add_state("true", [], "cat")

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Add rows, ``(rows, num_targets)`` each."""
        self.predicted.append(predicted.double())
        self.true.append(true.double())

    def compute(self) -> Tensor:
        """Return the mean over targets, a scalar."""
        predicted, true = (dim_zero_cat(each).cpu().numpy() for each in (self.predicted, self.true))
        scores = [number_scores(*pair)[self.kind] for pair in zip(predicted.T, true.T, strict=True)]
        return torch.tensor(np.mean(scores), dtype=torch.float64)
