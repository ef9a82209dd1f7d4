"""Metrics of rows that have any number of labels, equal to scikit-learn's with ``zero_division=0``.

A label without rows and predictions has F1 0 and counts in the macro mean, and so does a row with neither in the mean over
rows. torchmetrics' own classes take logits that all lie between 0 and 1 in a batch for probabilities; these take decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities.data import dim_zero_cat


class SetScore(Metric):
    """One score of the decisions ``probability >= threshold``.

    Args:
        num_labels: number of labels.
        kind: ``micro`` F1 over all decisions, ``macro`` mean of the labels' F1, ``samples`` mean of the rows' F1, or ``subset``:
            the share of rows with all decisions right.
        thresholds: of each label; by default one half.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    thresholds: Tensor
    right: Tensor
    given: Tensor
    rows: Tensor
    row_scores: Tensor

    def __init__(
        self,
        num_labels: int,
        kind: Literal["micro", "macro", "samples", "subset"],
        thresholds: Sequence[float] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.register_buffer(
            "thresholds", torch.tensor(thresholds or [0.5], dtype=torch.float64), persistent=False
        )
        self.add_state("right", torch.zeros(num_labels, dtype=torch.float64), "sum")
        self.add_state("given", torch.zeros(num_labels, dtype=torch.float64), "sum")
        self.add_state("row_scores", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("rows", torch.zeros((), dtype=torch.float64), "sum")

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add rows, ``(rows, num_labels)`` each."""
        decided, targets = probabilities >= self.thresholds, targets > 0
        right, given = decided & targets, decided.long() + targets.long()
        self.right += right.sum(0)
        self.given += given.sum(0)
        self.rows += len(targets)
        if self.kind == "subset":
            self.row_scores += (decided == targets).all(1).sum()
        else:
            self.row_scores += f1(right.sum(1), given.sum(1)).sum()

    def compute(self) -> Tensor:
        """Return the score, a scalar."""
        if self.kind == "micro":
            return f1(self.right.sum(), self.given.sum())
        if self.kind == "macro":
            return f1(self.right, self.given).mean()
        return self.row_scores / self.rows


def f1(right: Tensor, given: Tensor) -> Tensor:
    """Return ``2 * right / given``, ``given`` the rows that have the label plus those predicted; 0 for 0 / 0."""
    return 2 * right.double() / given.clamp(min=1)


class AveragePrecision(Metric):
    """Mean average precision of the labels that have rows; 0 if none has."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("probabilities", [], "cat")
        self.add_state("targets", [], "cat")

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add rows, ``(rows, num_labels)`` each."""
        self.probabilities.append(probabilities)
        self.targets.append(targets.long())

    def compute(self) -> Tensor:
        """Return the mean, a scalar."""
        probabilities, targets = dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)
        found = [
            binary_average_precision(of_label, truth, validate_args=False)
            for of_label, truth in zip(probabilities.T, targets.T, strict=True)
            if truth.any()
        ]
        return torch.stack(found).mean() if found else probabilities.new_zeros(())
