"""Classification losses and terms to add to them; all in float32, also under autocast.

``logits`` are ``(batch, num_labels)``, ``labels`` ``(batch,)`` int64, results scalars.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_ft.compat.torch import KeepsFloat32
from bert_ft.errors import ConfigError
from bert_ft.limits import BelowOne, NotNegative, Positive, require, within_limits
from bert_ft.nn.contrastive import contrastive_loss
from bert_ft.nn.precision import at_least_float32


class RowLoss(nn.Module, ABC):
    """Mean of the rows' losses, each weighted by ``row_weights`` (1 unless a loss says otherwise).

    The mean over a batch equals that over its pieces only if each piece is weighted by its ``total_weight``.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.weighted_mean(self.per_row(at_least_float32(logits), labels), labels)

    def row_weights(self, labels: Tensor) -> Tensor | None:
        """Return ``(batch,)``; ``None`` if all weights are 1."""
        return None

    def weighted_mean(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of ``(batch,)`` values, weighted as the rows are."""
        weights = self.row_weights(labels)
        return values.mean() if weights is None else (values * weights).sum() / weights.sum()

    def total_weight(self, labels: Tensor) -> Tensor | int:
        """Return the denominator of ``forward``: the sum of the rows' weights; without weights, their number."""
        weights = self.row_weights(labels)
        return len(labels) if weights is None else weights.sum()

    @abstractmethod
    def per_row(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the unweighted loss of each row, ``(batch,)``."""


class ClassWeightedLoss(KeepsFloat32, RowLoss):
    """A loss that has a weight for each class, or none."""

    class_weights: Tensor | None
    # training in 16 bits converts the module, which would round them
    in_float32 = ("class_weights",)

    @within_limits("loss")
    def __init__(self, class_weights: Sequence[Positive] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        # not persistent, since the weights come from the configuration
        self.register_buffer("class_weights", weights, persistent=False)


class ClassificationLoss(ClassWeightedLoss):
    """Mean of the rows' losses, each weighted by its label's class weight (1 without class weights)."""

    target_kind: ClassVar[str] = "classes"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise ConfigError(
                f"loss.class_weights has {len(self.class_weights)} weights for {logits.shape[1]} labels"
            )
        return super().forward(logits, labels)

    def row_weights(self, labels: Tensor) -> Tensor | None:
        """Return the weight of each row's class, ``(batch,)``; ``None`` without class weights."""
        return None if self.class_weights is None else self.class_weights[labels]


class CrossEntropy(ClassificationLoss):
    """Cross entropy; the smoothing mass is spread evenly over all classes.

    Source: Szegedy et al. 2016, arXiv 1512.00567 (label smoothing). Differs from
    ``torch.nn.CrossEntropyLoss`` with both smoothing and class weights: there the smoothing mass is
    spread by class weight (pytorch #104776), so that rare classes are smoothed toward themselves.
    """

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

    def per_row(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")


class Focal(ClassificationLoss):
    """Cross entropy times ``(1 - p) ** gamma``, ``p`` the probability of the true label.

    Source: Lin et al. 2017, arXiv 1708.02002; ours is the mean over all rows.
    """

    @within_limits("loss")
    def __init__(self, gamma: NotNegative = 2.0, class_weights: Sequence[Positive] | None = None) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def per_row(self, logits: Tensor, labels: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        # expm1 keeps 1 - p exact for p near 1; the clamp is for gamma below 1, whose power has no finite slope at 0. No
        # row lies at the clamp's bound, where its derivative would matter: a cross entropy is 0 or at least about 1e-7.
        missed = -torch.expm1(-cross_entropy)
        return missed.clamp(min=torch.finfo(missed.dtype).tiny) ** self.gamma * cross_entropy


class SupervisedContrastive(nn.Module):
    """Pull features of the same label together and push others apart; see ``contrastive_loss``.

    ``forward`` takes ``features (batch, hidden_size)`` and ``same_label (batch, batch)``, bool or weights.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        require(Positive, "loss.contrastive_temperature", temperature)
        self.temperature = temperature

    def forward(self, features: Tensor, same_label: Tensor) -> Tensor:
        itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
        return contrastive_loss(features, features, same_label, itself, self.temperature)


def symmetric_kl(logits_a: Tensor, logits_b: Tensor) -> Tensor:
    """Return ``(KL(a || b) + KL(b || a)) / 2`` of each row, ``(batch,)``; the gradient flows into both.

    Source: Liang et al. 2021, arXiv 2106.14448 (R-Drop), for two passes with different dropout.
    """
    log_a = at_least_float32(logits_a).log_softmax(-1)
    log_b = at_least_float32(logits_b).log_softmax(-1)
    return ((log_a.exp() - log_b.exp()) * (log_a - log_b)).sum(-1) / 2


def balanced_class_weights(label_counts: Sequence[int]) -> list[float]:
    """Return weights that give each class the same total weight: ``num_rows / (num_labels * count)``.

    Raises:
        ConfigError: a label has no rows.
    """
    for label, count in enumerate(label_counts):
        if count <= 0:
            raise ConfigError(
                f"loss.class_weights=balanced: label {label} has {count} training rows, needs at least 1"
            )
    num_rows = sum(label_counts)
    return [num_rows / (len(label_counts) * count) for count in label_counts]
