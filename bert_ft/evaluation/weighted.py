"""Metrics of many resamples at once: functions of ``(resamples, rows)`` weights, with ``(resamples,)`` values.

A weight is how often a row is in a resample. The values are those of scikit-learn and scipy for the repeated rows, which
would take a second for each thousand resamples of a thousand rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

OfWeights = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64], otherwise: float) -> NDArray[np.float64]:
    """Return ``part / whole``, and ``otherwise`` where ``whole`` isn't positive."""
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, otherwise), where=whole > 0)


def mean(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted mean of row values ``(rows,)``."""
    return ratio(weights @ values, weights.sum(axis=1), np.nan)


def macro_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean F1 of the classes that occur in truth or prediction, from ``(resamples, truth, prediction)`` counts."""
    right = np.diagonal(counts, axis1=1, axis2=2)
    occurs = counts.sum(axis=1) + counts.sum(axis=2)
    return ratio(ratio(2 * right, occurs, 0.0).sum(axis=1), (occurs > 0).sum(axis=1), np.nan)


def kappa(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return quadratically weighted kappa over the whole scale, from ``(resamples, truth, prediction)`` counts."""
    steps = np.arange(counts.shape[1], dtype=np.float64)
    distance = np.square(steps[:, None] - steps)
    truth, predicted = counts.sum(axis=2), counts.sum(axis=1)
    by_chance = np.einsum("rt,tp,rp->r", truth, distance, predicted, optimize=True)
    observed = (counts * distance).sum(axis=(1, 2)) * counts.sum(axis=(1, 2))
    return np.where(by_chance > 0, 1 - ratio(observed, by_chance, 0.0), 0.0)


def mean_distance(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean distance of truth and prediction in steps of the scale, from ``(resamples, truth, prediction)`` counts."""
    steps = np.arange(counts.shape[1], dtype=np.float64)
    return ratio((counts * np.abs(steps[:, None] - steps)).sum(axis=(1, 2)), counts.sum(axis=(1, 2)), np.nan)


def set_f1(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], average: str) -> OfWeights:
    """Return ``micro``, ``macro`` or ``samples`` F1 of label sets ``(rows, labels)``; see ``metrics.label_set_metrics`` for 0 / 0."""
    right = (truth & predicted).astype(np.float64)
    either = truth.astype(np.float64) + predicted
    if average == "samples":
        row_values = ratio(2 * right.sum(axis=1), either.sum(axis=1), 0.0)
        return lambda weights: mean(weights, row_values)

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        hits, totals = weights @ right, weights @ either
        if average == "micro":
            return ratio(2 * hits.sum(axis=1), totals.sum(axis=1), 0.0)
        return ratio(2 * hits, totals, 0.0).mean(axis=1)

    return of_weights


def average_precision(truth: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> OfWeights:
    """Return the mean average precision of the labels that have rows in a resample, from ``(rows, labels)`` each."""
    orders = (-probabilities).argsort(axis=0, kind="stable")

    def of_label(weights: NDArray[np.float64], label: int) -> NDArray[np.float64]:
        order = orders[:, label]
        ordered = probabilities[order, label]
        ends = np.append(
            np.flatnonzero(np.diff(ordered)), len(ordered) - 1
        )  # last row of equal probabilities
        kept = weights[:, order].cumsum(axis=1)[:, ends]
        right = (weights[:, order] * truth[order, label]).cumsum(axis=1)[:, ends]
        recall = ratio(np.diff(right, axis=1, prepend=0.0), right[:, -1:], np.nan)
        return (recall * ratio(right, kept, 0.0)).sum(axis=1)

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.stack([of_label(weights, label) for label in range(truth.shape[1])])
        defined = np.isfinite(values)
        return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0), np.nan)

    return of_weights


def error_mean(errors: NDArray[np.float64]) -> OfWeights:
    """Return the root of the mean squared error of ``(rows,)`` errors."""
    return lambda weights: np.sqrt(mean(weights, np.square(errors)))


def r_squared(truth: NDArray[np.float64], errors: NDArray[np.float64]) -> OfWeights:
    """Return R² of ``(rows,)`` numbers; NaN if all true numbers of a resample are equal."""

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        centered = truth - truth.mean()
        variance = mean(weights, np.square(centered)) - np.square(mean(weights, centered))
        varied = _varies(weights, truth)
        return np.where(varied, 1 - ratio(mean(weights, np.square(errors)), variance, 0.0), np.nan)

    return of_weights


def pearson(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> OfWeights:
    """Return the correlation of ``(rows,)`` numbers.

    NaN if all true numbers of a resample are equal, 0 if only the predictions are.
    """

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = truth - truth.mean(), predicted - predicted.mean()
        shape = weights.shape
        return _correlation(weights, np.broadcast_to(x, shape), np.broadcast_to(y, shape), truth, predicted)

    return of_weights


def spearman(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> OfWeights:
    """Return the rank correlation of ``(rows,)`` numbers, ranked within each resample; limits as in ``pearson``."""

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        half = weights.sum(axis=1, keepdims=True) / 2
        x, y = _ranks(weights, truth) - half, _ranks(weights, predicted) - half
        return _correlation(weights, x, y, truth, predicted)

    return of_weights


def divergence(shares: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Kullback-Leibler divergence of each row's probabilities from its shares, ``(rows,)``, in nats."""
    from scipy.special import rel_entr

    return rel_entr(shares, probabilities).sum(axis=1)


def _correlation(
    weights: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    truth: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> NDArray[np.float64]:
    total = weights.sum(axis=1)

    def product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        means = (weights * a).sum(axis=1) * (weights * b).sum(axis=1) / total
        return (weights * a * b).sum(axis=1) - means

    scale = np.sqrt(np.maximum(product(x, x), 0)) * np.sqrt(np.maximum(product(y, y), 0))
    found = np.clip(ratio(product(x, y), scale, 0.0), -1, 1)
    found = np.where(_varies(weights, predicted), found, 0.0)
    return np.where(_varies(weights, truth), found, np.nan)


def _ranks(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle rank of each row in each resample, ``(resamples, rows)``; equal values share it."""
    order = values.argsort(kind="stable")
    starts = np.append(0, np.flatnonzero(np.diff(values[order])) + 1)
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    middles = sizes.cumsum(axis=1) - (sizes - 1) / 2
    group = np.searchsorted(values[order][starts], values)
    return middles[:, group]


def _varies(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the rows of each resample have different values: their spread in double precision may not be exactly 0."""
    drawn = weights > 0
    highest = np.where(drawn, values, -np.inf).max(axis=1)
    return highest > np.where(drawn, values, np.inf).min(axis=1)
