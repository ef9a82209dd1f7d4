"""Precision, recall and F1 of each label of rows that have any number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bert_ft import layout
from bert_ft.tasks.calibration import reliability_bins
from bert_ft.tasks.confidence import ClassScores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def label_counts(predicted: NDArray[np.bool_], labels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return rows with label and prediction, with the label, and with the prediction, ``(num_labels, 3)``."""
    import numpy as np

    return np.stack([(predicted & labels).sum(axis=0), labels.sum(axis=0), predicted.sum(axis=0)], axis=1)


def label_scores(counts: NDArray[np.int64]) -> ClassScores:
    """Return the scores of each label from its ``label_counts``; NaN for 0 / 0."""
    import numpy as np

    right, with_label, predicted = counts.T.astype(np.float64)

    def ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
        return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)

    return ClassScores(
        ratio(right, predicted), ratio(right, with_label), ratio(2 * right, with_label + predicted)
    )


def decision_scores(
    probabilities: NDArray[np.float64],
    predicted: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    names: Sequence[str],
    num_bins: int,
) -> dict[str, float]:
    """Return tag → scalar of ``(rows, num_labels)`` each: calibration of all decisions, and each label's scores unless 0 / 0."""
    import numpy as np

    scalars = {
        f"{layout.CONFIDENCE}{layout.ECE}": reliability_bins(
            probabilities.ravel(), labels.ravel(), num_bins
        ).ece,
        f"{layout.CONFIDENCE}{layout.BRIER}": float(np.square(probabilities - labels).mean()),
    }
    for score, values in label_scores(label_counts(predicted, labels))._asdict().items():
        scalars |= {
            layout.tag(layout.CLASS, name, score): float(value)
            for name, value in zip(names, values, strict=True)
            if not np.isnan(value)
        }
    return scalars
