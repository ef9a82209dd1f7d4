"""Test sets that could have come instead of this one: weights of many resamples, seeded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_ft.evaluation.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1_000
_CELLS = 1_000_000  # of the weights in memory at once


@dataclass(frozen=True)
class Resamples:
    """Values of one or more metrics of the same rows.

    Attributes:
        values: ``(metrics, resamples)``; NaN where a metric isn't defined.
        without_class: class id → number of resamples without a row of it; of classes that have rows, and metrics of classes.
    """

    values: NDArray[np.float64]
    without_class: dict[int, int]


def resampled(
    metrics: Sequence[Metric],
    *,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
    num_resamples: int = RESAMPLES,
    smooth: bool = False,
) -> Resamples:
    """Return the values of metrics in resamples of their rows, or of whole clusters; every metric sees the same ones.

    Rows that are in the same units of all metrics are drawn together: the number of each is multinomial, so ten thousand rows
    of few classes cost no more than a hundred.

    Args:
        metrics: of the same rows.
        rng: the source of randomness.
        clusters: ``(rows,)`` cluster ids; clusters are then drawn instead of rows.
        num_resamples: number of resamples.
        smooth: whether a metric of classes draws from ``smoothed`` counts; for a single metric without clusters.
    """
    first = metrics[0]
    of_pairs = first.num_classes > 0
    if smooth and of_pairs and clusters is None:
        probabilities, num_drawn = smoothed(counts_of(first)).ravel(), len(first)
        maps: list[Any] = [None]
    else:
        probabilities, num_drawn, maps = _what_is_drawn(metrics, clusters)
    found: list[NDArray[np.float64]] = []
    absent = np.zeros(first.num_classes, np.int64)
    for weights in _weights(rng, num_drawn, probabilities, num_resamples, max(m.num_units for m in metrics)):
        totals = [weights if matrix is None else weights @ matrix for matrix in maps]
        found.append(
            np.stack([metric.of_weights(total) for metric, total in zip(metrics, totals, strict=True)])
        )
        if of_pairs:
            absent += (totals[0].reshape(-1, first.num_classes, first.num_classes).sum(axis=2) == 0).sum(
                axis=0
            )
    without: dict[int, int] = {}
    if of_pairs:
        present = np.unique(first.units // first.num_classes)
        without = {int(index): int(absent[index]) for index in present if absent[index]}
    return Resamples(np.concatenate(found, axis=1), without)


def _what_is_drawn(
    metrics: Sequence[Metric], clusters: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], int, list[Any]]:
    """Return the probability of each thing that is drawn, how many are, and what one adds to each metric's units.

    The last are sparse, ``(things, units)``. A thing is a cluster, or all rows in the same units of every metric.
    """
    from scipy.sparse import csr_array

    if clusters is None:
        units = np.stack([metric.units for metric in metrics])
        _, things = np.unique(units, axis=1, return_inverse=True)
    else:
        _, things = np.unique(clusters, return_inverse=True)
    things = things.ravel()
    counts = np.bincount(things)
    # rows in the same units add one row each, a cluster all its rows
    added = np.ones(len(things)) if clusters is not None else 1 / counts[things]
    maps = [
        csr_array((added, (things, metric.units)), shape=(len(counts), metric.num_units))
        for metric in metrics
    ]
    if clusters is None:
        return counts / len(things), len(things), maps
    return np.full(len(counts), 1 / len(counts)), len(counts), maps


def counts_of(metric: Metric) -> NDArray[np.float64]:
    """Return the rows of a metric of classes by truth and prediction, ``(classes, classes)``."""
    counts = np.bincount(metric.units, minlength=metric.num_units)
    return counts.reshape(metric.num_classes, -1).astype(np.float64)


def smoothed(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of truth and prediction, ``(classes, classes)``, in which no class is always right.

    One row in all is added, shared equally by the classes that occur: half of a class's part to its right predictions, half to
    the wrong ones. Each class keeps its share of the rows. Without it, a flawless test set has an interval of width 0.
    """
    occurs = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    num_classes = int(occurs.sum())
    if num_classes < 2:
        return counts / counts.sum()
    added = np.full(counts.shape, 0.5 / (num_classes - 1)) * np.outer(occurs, occurs)
    np.fill_diagonal(added, 0.5 * occurs)
    rows = counts.sum(axis=1, keepdims=True)
    return (counts + added / num_classes) / (rows + 1 / num_classes) * rows / counts.sum()


def _weights(
    rng: np.random.Generator,
    num_drawn: int,
    probabilities: NDArray[np.float64],
    num_resamples: int,
    width: int,
) -> Iterator[NDArray[np.float64]]:
    """Yield weights, ``(some resamples, drawn)``, of all resamples, as many at once as fit."""
    at_once = max(1, _CELLS // max(width, len(probabilities)))
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        if np.ptp(probabilities) == 0 and len(probabilities) == num_drawn:  # much faster than the multinomial
            places = rng.integers(num_drawn, size=(size, num_drawn)) + num_drawn * np.arange(size)[:, None]
            counts = np.bincount(places.ravel(), minlength=size * num_drawn).reshape(size, num_drawn)
        else:
            counts = rng.multinomial(num_drawn, probabilities, size=size)
        yield counts.astype(np.float64)
