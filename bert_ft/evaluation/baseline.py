"""What a model must beat: guessing the same for each row, from the training labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bert_ft.evaluation import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Baseline:
    """Guessing the same for each row.

    Attributes:
        guess: what is guessed, in words: ``always ham``.
        values: metric → its value on the rows; a metric without a value there is missing.
    """

    guess: str
    values: Mapping[str, float]


def largest_class(
    training_counts: Sequence[int], truth: NDArray[np.int64], names: Sequence[str], *, grades: bool = False
) -> Baseline:
    """Return the scores of guessing the class with most training rows, the first of several.

    Args:
        training_counts: ``(classes,)`` training rows of each class.
        truth: ``(rows,)`` class ids of the evaluated rows.
        names: names of the classes.
        grades: whether the classes are a scale, with its metrics.
    """
    guess = int(np.flatnonzero(np.asarray(training_counts) == max(training_counts))[0])
    of = metrics.grade_metrics if grades else metrics.class_metrics
    return Baseline(
        f"always {names[guess]}", _values(of(truth, np.full(len(truth), guess), len(training_counts)))
    )


def frequent_labels(
    training_counts: Sequence[int], training_rows: int, truth: NDArray[np.bool_], names: Sequence[str]
) -> Baseline:
    """Return the scores of giving each row the labels that most training rows have, or the most frequent one if none does.

    Args:
        training_counts: ``(labels,)`` training rows that have each label.
        training_rows: number of training rows.
        truth: ``(rows, labels)`` labels of the evaluated rows.
        names: names of the labels.
    """
    counts = np.asarray(training_counts)
    guess = counts * 2 > training_rows
    if not guess.any():
        guess[np.flatnonzero(counts == counts.max())[0]] = True
    probabilities = np.broadcast_to(counts / max(training_rows, 1), truth.shape)
    predicted = np.broadcast_to(guess, truth.shape)
    named = ", ".join(name for name, given in zip(names, guess, strict=True) if given)
    return Baseline(f"always {named}", _values(metrics.label_set_metrics(truth, predicted, probabilities)))


def training_mean(mean: float, truth: NDArray[np.float64]) -> Baseline:
    """Return the scores of guessing the mean of the training rows' numbers for ``(rows,)`` numbers."""
    return Baseline(f"always {mean:,.6g}", _values(metrics.number_metrics(truth, np.full(len(truth), mean))))


def mean_shares(training_shares: NDArray[np.float64], shares: NDArray[np.float64]) -> Baseline:
    """Return the scores of guessing the training rows' mean shares ``(classes,)`` for soft labels ``(rows, classes)``."""
    found, _ = metrics.vote_metrics(shares, np.broadcast_to(training_shares, shares.shape))
    return Baseline("always the mean of the training rows", _values(found))


def _values(found: Mapping[str, metrics.Metric]) -> dict[str, float]:
    return {name: metric.value for name, metric in found.items() if np.isfinite(metric.value)}
