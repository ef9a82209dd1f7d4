"""How sure a classifier is of validation rows, how right, and which class it takes for which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from bert_ft import layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@runtime_checkable
class JudgesConfidence(Protocol):
    """A task whose rows have one class each: what the monitors of predictions ask of it.

    ``logits`` are ``(rows, classes)`` and finite, ``labels`` ``(rows,)`` class ids.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of each class, ``(rows, classes)``, in the type of the logits."""

    def predicted(self, logits: Any) -> Any:
        """Return the class id of each row, ``(rows,)``, of a tensor or an array."""

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return minus the log-probability of each row's label, ``(rows,)``."""

    def confusion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the number of rows by label and prediction, ``(classes, classes)``."""

    def confidence(self, logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
        """Return tag → scalar: calibration, and the scores of each class; what is 0 / 0 is left out.

        ``num_bins`` is that of the expected calibration error, of equal width.
        """


def confusion_counts(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the number of rows by label and prediction, ``(classes, classes)``."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(predictions, labels, num_classes)


def confidence_scores(
    logits: Tensor, predictions: Tensor, labels: Tensor, names: Sequence[str], num_bins: int
) -> dict[str, float]:
    """Return tag → scalar; see ``JudgesConfidence.confidence``."""
    from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_stat_scores

    from bert_ft.nn.confidence import brier_score, class_scores, right_and_wrong

    probabilities = logits.softmax(1)
    right, wrong = right_and_wrong(probabilities, labels)
    scalars = {
        f"{layout.CONFIDENCE}{layout.ECE}": multiclass_calibration_error(
            probabilities, labels, len(names), n_bins=num_bins, norm="l1"
        ),
        f"{layout.CONFIDENCE}{layout.BRIER}": brier_score(probabilities, labels),
        f"{layout.CONFIDENCE}{layout.MEAN_CORRECT}": right.mean(),
        f"{layout.CONFIDENCE}{layout.MEAN_WRONG}": wrong.mean(),
    }
    counts = multiclass_stat_scores(predictions, labels, len(names), average=None)
    tp, fp, _, fn, _ = counts.unbind(1)
    for score, values in class_scores(tp, fp, fn).items():
        scalars |= {
            layout.tag(layout.CLASS, name, score): value for name, value in zip(names, values, strict=True)
        }
    return {name: float(value) for name, value in scalars.items() if math.isfinite(value)}


class TopProbabilities(NamedTuple):
    """The top prediction of each row.

    Attributes:
        probabilities: ``(rows,)``.
        predictions: ``(rows,)``.
        is_correct: ``(rows,)``.
    """

    probabilities: NDArray[np.float64]
    predictions: NDArray[np.int64]
    is_correct: NDArray[np.bool_]


def top_probabilities(logits: NDArray, labels: NDArray) -> TopProbabilities:
    """Return the top prediction of each row of logits ``(rows, classes)``; of equal logits the first counts."""
    import numpy as np

    logits = logits.astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    predictions = logits.argmax(axis=1)
    return TopProbabilities(1 / odds.sum(axis=1), predictions, predictions == labels)
