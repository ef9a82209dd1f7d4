"""Losses of grades, which have an order; all in float32, also under autocast.

``logits`` are ``(batch, num_grades - 1)``, the log-odds to be above a grade if not below it (CORN); ``labels`` are ``(batch,)`` int64.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_ft.limits import NotNegative, within_limits
from bert_ft.nn.losses import RowLoss


class SmoothedGrades(RowLoss):
    """Cross entropy to a distribution around the grade that falls with the distance, a normal curve ``spread`` steps wide.

    Source: Diaz and Marathe 2019, "Soft Labels for Ordinal Regression" (CVPR); theirs is ``spread = sqrt(1 / 2)``. Ours is on CORN's
    probabilities (Shi, Cao and Raschka 2021, arXiv 2111.08851), which fall along the scale.

    Args:
        spread: standard deviation of the curve, in steps of the scale; 0 = all on the grade.
    """

    target_kind: ClassVar[str] = "grades"

    @within_limits("loss")
    def __init__(self, spread: NotNegative = 0.7) -> None:
        super().__init__()
        self.spread = spread

    @property
    def is_plain(self) -> bool:
        """Whether this is the loss that validation measures."""
        return self.spread == 0

    def per_row(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each row, ``(batch,)``, in nats."""
        log_probabilities = grade_log_probabilities(logits)
        if self.spread == 0:
            return F.nll_loss(log_probabilities, labels, reduction="none")
        steps = torch.arange(log_probabilities.shape[1], device=labels.device) - labels[:, None]
        target = (-0.5 * (steps / self.spread).square()).softmax(1)  # (batch, num_grades)
        return -(target * log_probabilities).sum(1)


def grade_log_probabilities(logits: Tensor) -> Tensor:
    """Return the log-probability of each grade by CORN's ``logits``, ``(batch, num_grades)``."""
    above = F.logsigmoid(logits).cumsum(1)  # log P(grade > k)
    start = logits.new_zeros(len(logits), 1)
    return torch.cat([start, above], 1) + torch.cat([F.logsigmoid(-logits), start], 1)
