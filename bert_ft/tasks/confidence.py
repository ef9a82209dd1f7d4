"""How confident and how accurate a classifier is on validation rows, and which classes it confuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from bert_ft import layout
from bert_ft.tasks.calibration import reliability_bins

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@runtime_checkable
class JudgesRows(Protocol):
    """Methods that the monitor of confidence needs from a task.

    ``logits`` are ``(rows, num_labels)`` and finite, ``labels`` the task's targets.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of the logits."""

    def describe(self, target: Any) -> str:
        """Return one row's target for tables."""

    def outputs(self, logits: Tensor) -> Tensor:
        """Return what ``decode`` takes."""

    def decode(self, outputs: np.ndarray) -> dict[str, Any]:
        """Return the prediction of each row; the first entry is shown."""

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each row, ``(rows,)``; for classes minus the log-probability of its label."""

    def confidence(self, logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
        """Return tag → scalar: calibration with ``num_bins`` equal bins, and each label's scores unless they are 0 / 0."""

    def arrays(self, logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
        """Return what the report needs besides logits and labels, by name."""


@runtime_checkable
class JudgesConfidence(JudgesRows, Protocol):
    """The same for a task whose rows have one class each: ``labels`` are ``(rows,)`` class ids."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""

    def class_logits(self, logits: Tensor) -> Tensor:
        """Return logits of the classes, ``(rows, classes)``, from those of the outputs."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of each class, ``(rows, classes)``, in the dtype of the logits."""

    def predicted(self, logits: Any) -> Any:
        """Return the class id of each row, ``(rows,)``, for a tensor or an array."""


def confusion_counts(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the number of rows by label and prediction, ``(classes, classes)``."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(predictions, labels, num_classes)


class ClassScores(NamedTuple):
    """Scores of each class, ``(classes,)``; NaN for 0 / 0, if it has no rows or no predictions."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def class_scores(counts: NDArray[np.int64]) -> ClassScores:
    """Return the scores of each class from the number of rows by label and prediction, ``(classes, classes)``."""
    import numpy as np

    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)

    def ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
        return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)

    return ClassScores(ratio(right, predicted), ratio(right, support), ratio(2 * right, support + predicted))


def confidence_scores(
    logits: Tensor, predictions: Tensor, labels: Tensor, names: Sequence[str], num_bins: int
) -> dict[str, float]:
    """Return tag → scalar; see ``JudgesRows.confidence``."""
    from bert_ft.nn.confidence import brier_score, right_and_wrong

    probabilities = logits.softmax(1)
    right, wrong = right_and_wrong(probabilities, predictions, labels)
    predicted = probabilities.gather(1, predictions[:, None])[:, 0]
    scalars: dict[str, Any] = {
        f"{layout.CONFIDENCE}{layout.ECE}": reliability_bins(
            predicted.numpy(), (predictions == labels).numpy(), num_bins
        ).ece,
        f"{layout.CONFIDENCE}{layout.BRIER}": brier_score(probabilities, labels),
        f"{layout.CONFIDENCE}{layout.MEAN_CORRECT}": right.mean(),
        f"{layout.CONFIDENCE}{layout.MEAN_WRONG}": wrong.mean(),
    }
    scores = class_scores(confusion_counts(predictions, labels, len(names)).numpy())
    for score, values in scores._asdict().items():
        scalars |= {
            layout.tag(layout.CLASS, name, score): value for name, value in zip(names, values, strict=True)
        }
    return {name: float(value) for name, value in scalars.items() if math.isfinite(value)}


class PredictionProbabilities(NamedTuple):
    """The prediction of each row, ``(rows,)`` each."""

    probabilities: NDArray[np.float64]
    predictions: NDArray[np.int64]
    is_correct: NDArray[np.bool_]


def prediction_probabilities(
    logits: NDArray, labels: NDArray, predictions: NDArray | None = None
) -> PredictionProbabilities:
    """Return the prediction of each row of logits ``(rows, classes)``, and its probability.

    Args:
        logits: logits of the classes.
        labels: ``(rows,)`` class ids.
        predictions: ``(rows,)`` class ids; ``None`` = the most probable class, of equal ones the first.
    """
    import numpy as np

    logits = logits.astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    if predictions is None:
        predictions = logits.argmax(axis=1)
    probabilities = odds[np.arange(len(odds)), predictions] / odds.sum(axis=1)
    return PredictionProbabilities(probabilities, predictions, predictions == labels)
