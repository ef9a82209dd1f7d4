"""Losses of rows that have any number of labels; all in float32, also under autocast.

``logits`` are ``(batch, num_labels)``, ``labels`` the same, 1 where a row has the label; a row's loss is the mean over labels.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_ft.limits import BelowOne, NotNegative, Positive, within_limits
from bert_ft.nn.losses import ClassWeightedLoss
from bert_ft.nn.precision import at_least_float32


class LabelSetLoss(ClassWeightedLoss):
    """Mean of the losses of all decisions; ``class_weights`` weight those whose row has the label."""

    target_kind: ClassVar[str] = "label sets"

    def per_row(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each row, ``(batch,)``."""
        labels = labels.to(logits.dtype)
        losses = self.of_decisions(logits, labels)
        if self.class_weights is not None:
            losses = losses * torch.where(labels > 0, self.class_weights, 1)
        return losses.mean(-1)

    @abstractmethod
    def of_decisions(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the unweighted loss of each decision, ``(batch, num_labels)``."""


class BinaryCrossEntropy(LabelSetLoss):
    """Binary cross entropy; smoothing moves each label toward one half, so that rows without labels are smoothed as well."""

    @within_limits("loss")
    def __init__(
        self, label_smoothing: BelowOne = 0.0, class_weights: Sequence[Positive] | None = None
    ) -> None:
        super().__init__(class_weights)
        self.label_smoothing = label_smoothing

    @property
    def is_plain(self) -> bool:
        """Whether this is the loss that validation measures."""
        return self.label_smoothing == 0 and self.class_weights is None

    def of_decisions(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the binary cross entropy with the smoothed labels."""
        smoothed = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")


class BinaryFocal(LabelSetLoss):
    """Binary cross entropy times ``(1 - p) ** gamma``, ``p`` the probability of the right decision.

    Source: Lin et al. 2017, arXiv 1708.02002.
    """

    @within_limits("loss")
    def __init__(self, gamma: NotNegative = 2.0, class_weights: Sequence[Positive] | None = None) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def of_decisions(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the focal loss."""
        toward_right = logits * (2 * labels - 1)
        return _power(torch.sigmoid(-toward_right), self.gamma) * -F.logsigmoid(toward_right)


class Asymmetric(LabelSetLoss):
    """Focal loss with an exponent each for present and absent labels; absent ones of a probability below ``clip`` cost nothing.

    Source: Ridnik et al. 2021, arXiv 2009.14119, equations 7 and 8. Theirs is the sum over rows and labels, and clamps
    probabilities at 1e-8, which caps the loss at 18.4 and stops its gradient there; ours is computed from log-probabilities.

    Args:
        gamma_negative: exponent for absent labels.
        gamma_positive: exponent for present labels.
        clip: subtracted from the probability of absent labels.
        class_weights: weights of the labels, for rows that have them.
    """

    @within_limits("loss")
    def __init__(
        self,
        gamma_negative: NotNegative = 4.0,
        gamma_positive: NotNegative = 1.0,
        clip: BelowOne = 0.05,
        class_weights: Sequence[Positive] | None = None,
    ) -> None:
        super().__init__(class_weights)
        self.gamma_negative = gamma_negative
        self.gamma_positive = gamma_positive
        self.clip = clip

    def of_decisions(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the asymmetric loss."""
        present = _power(torch.sigmoid(-logits), self.gamma_positive) * -F.logsigmoid(logits)
        if self.clip:
            missed = (torch.sigmoid(logits) - self.clip).clamp(min=0)
            absent = -(torch.sigmoid(-logits) + self.clip).clamp(max=1).log()
        else:
            missed, absent = torch.sigmoid(logits), -F.logsigmoid(-logits)
        return labels * present + (1 - labels) * _power(missed, self.gamma_negative) * absent


def bernoulli_divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Return ``(KL(a || b) + KL(b || a)) / 2`` of each row, the mean over its labels, ``(batch,)``.

    Source: Liang et al. 2021, arXiv 2106.14448 (R-Drop), for labels that don't exclude each other.
    """
    logits, others = at_least_float32(logits), at_least_float32(others)
    return ((logits.sigmoid() - others.sigmoid()) * (logits - others)).mean(-1) / 2


def _power(values: Tensor, gamma: float) -> Tensor:
    """Return ``values ** gamma`` with a finite slope at 0, which a gamma below 1 doesn't have."""
    return values.clamp(min=torch.finfo(values.dtype).tiny) ** gamma
