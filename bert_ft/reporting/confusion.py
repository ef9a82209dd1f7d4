"""Which classes are taken for which, and how well each is found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClassScores(NamedTuple):
    """``(classes,)`` each; NaN where nothing was there to be found, or nothing was predicted.

    Attributes:
        precision: the share of the rows predicted as this class that have it.
        recall: the share of the rows with this class that were predicted so.
        f1: their harmonic mean.
        support: rows with this class.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def class_scores(counts: NDArray[np.int64]) -> ClassScores:
    """From a confusion matrix ``(classes, classes)``: rows with the label of the row, predicted as the column."""
    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return ClassScores(
        precision=_ratio(right, predicted),
        recall=_ratio(right, support),
        f1=_ratio(2 * right, support + predicted),
        support=support,
    )


def mistakes(counts: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """``(label, prediction, rows)`` of the most frequent mistakes, at most so many; equal ones in the labels' order."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(index), len(counts)) for index in order]
    return [
        (label, prediction, int(wrong[label, prediction]))
        for label, prediction in pairs
        if wrong[label, prediction]
    ]


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
