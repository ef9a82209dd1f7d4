"""Metrics of rows that a model predicted, from scikit-learn and scipy, in a form that can be resampled.

The rows of a ``Metric`` fall into units: of classes and grades one for each pair of truth and prediction, else each row is a
unit of its own. ``of_weights`` gives the metric of many resamples at once from how often each unit is in each of them. All
functions need at least one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_ft.evaluation.weighted import (
    average_precision,
    divergence,
    error_mean,
    kappa,
    macro_f1,
    mean,
    mean_distance,
    pearson,
    r_squared,
    ratio,
    set_f1,
    spearman,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

OfWeights = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
ERRORS = ("mae", "rmse")  # metrics of numbers whose best value is 0
_EQUAL = 1e-6  # shares that differ by less are equal


@dataclass(frozen=True)
class Metric:
    """One metric of some rows.

    Attributes:
        name: as in the task's metrics: ``accuracy``, ``f1_macro``, ``mae``.
        value: of all rows; NaN where it isn't defined.
        units: ``(rows,)``, the unit of each row.
        of_weights: maps ``(resamples, units)`` counts to ``(resamples,)`` values, NaN where it isn't defined.
        num_classes: for metrics of pairs of truth and prediction, whose unit is ``truth * num_classes + prediction``; 0
            for others.
        hits: ``(rows,)`` if it is the share of rows for which they are true, so that exact intervals exist; else ``None``.
        highest: the best value that exists; infinite for errors, whose best is 0.
    """

    name: str
    value: float
    units: NDArray[np.int64]
    of_weights: OfWeights
    num_classes: int = 0
    hits: NDArray[np.bool_] | None = None
    highest: float = 1.0

    @property
    def lower_is_better(self) -> bool:
        """Whether it is an error."""
        return self.highest == math.inf

    @property
    def num_units(self) -> int:
        """Width of what ``of_weights`` takes."""
        return self.num_classes**2 if self.num_classes else len(self.units)

    def __len__(self) -> int:
        return len(self.units)


def class_metrics(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int
) -> dict[str, Metric]:
    """Return ``accuracy`` and ``f1_macro``, over the classes that occur in truth or prediction, from ``(rows,)`` ids."""
    from sklearn.metrics import f1_score

    _check_rows(truth)
    f1 = f1_score(truth, predicted, average="macro", zero_division=0)
    f1_macro = _of_pairs("f1_macro", f1, truth, predicted, num_classes, macro_f1)
    return {"accuracy": share("accuracy", truth == predicted), "f1_macro": f1_macro}


def grade_metrics(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], num_grades: int
) -> dict[str, Metric]:
    """Return ``quadratic_kappa`` over the whole scale, ``mae`` in steps of it, and ``accuracy``, from ``(rows,)`` positions.

    The kappa is 0 where it is 0 / 0, as all rows and predictions have one grade.
    """
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    _check_rows(truth)
    both = np.concatenate([truth, predicted])
    agreement = 0.0
    if np.ptp(both) > 0:
        scale = np.arange(num_grades)
        agreement = cohen_kappa_score(truth, predicted, labels=scale, weights="quadratic")
    error = mean_absolute_error(truth, predicted)
    return {
        "quadratic_kappa": _of_pairs("quadratic_kappa", agreement, truth, predicted, num_grades, kappa),
        "mae": _of_pairs("mae", error, truth, predicted, num_grades, mean_distance, math.inf),
        "accuracy": share("accuracy", truth == predicted),
    }


def label_set_metrics(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], probabilities: NDArray[np.float64]
) -> dict[str, Metric]:
    """Return F1 micro, macro and samples, average precision (macro) and subset accuracy, from ``(rows, labels)`` each.

    A label, or a row, with neither truth nor prediction has F1 0 and counts, as in scikit-learn with ``zero_division=0``.
    The average precision is the mean over the labels that have rows; NaN if none has.
    """
    from sklearn.metrics import average_precision_score

    _check_rows(truth)
    rows = len(truth)
    found = {}
    for average in ("micro", "macro", "samples"):
        # scikit-learn takes a single label for two classes, and then means something else by micro and macro
        f1 = set_f1(truth, predicted, average)
        found[f"f1_{average}"] = _of_rows(f"f1_{average}", f1(np.ones((1, rows)))[0], rows, f1)
    positive = np.flatnonzero(truth.any(axis=0))
    precisions = [average_precision_score(truth[:, label], probabilities[:, label]) for label in positive]
    found["average_precision"] = _of_rows(
        "average_precision",
        float(np.mean(precisions)) if precisions else np.nan,
        rows,
        average_precision(truth, probabilities),
    )
    return found | {"subset_accuracy": share("subset_accuracy", (truth == predicted).all(axis=1))}


def label_metrics(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> dict[str, Metric]:
    """Return ``precision``, ``recall`` and ``f1`` of one class or label, from ``(rows,)`` each; NaN for 0 / 0.

    For rows that belong together; of independent rows ``intervals.label_intervals`` gives exact intervals.
    """
    right = (truth & predicted).astype(np.float64)
    parts = {
        "precision": (right, predicted.astype(np.float64)),
        "recall": (right, truth.astype(np.float64)),
        "f1": (2 * right, truth.astype(np.float64) + predicted),
    }

    def of(part: NDArray[np.float64], whole: NDArray[np.float64]) -> OfWeights:
        return lambda weights: ratio(weights @ part, weights @ whole, np.nan)

    return {
        name: _of_rows(name, of(*pair)(np.ones((1, len(truth))))[0], len(truth), of(*pair))
        for name, pair in parts.items()
    }


def number_metrics(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, Metric]:
    """Return ``pearson``, ``spearman``, ``mae``, ``rmse`` and ``r2`` of ``(rows,)`` numbers, in double precision.

    Correlations are 0 if only the predictions are all equal, as in ``tasks.metrics.number_scores``.
    """
    from bert_ft.tasks.metrics.number_scores import number_scores

    _check_rows(truth)
    truth, predicted = truth.astype(np.float64), predicted.astype(np.float64)
    errors = predicted - truth
    of_weights: dict[str, OfWeights] = {
        "pearson": pearson(truth, predicted),
        "spearman": spearman(truth, predicted),
        "mae": lambda weights: mean(weights, np.abs(errors)),
        "rmse": error_mean(errors),
        "r2": r_squared(truth, errors),
    }
    values = number_scores(predicted, truth)
    return {
        name: _of_rows(name, values[name], len(truth), function, math.inf if name in ERRORS else 1.0)
        for name, function in of_weights.items()
    }


def vote_metrics(
    shares: NDArray[np.float64], probabilities: NDArray[np.float64]
) -> tuple[dict[str, Metric], NDArray[np.bool_]]:
    """Return metrics of soft labels, ``(rows, classes)`` each, and which rows have a majority, ``(rows,)``.

    ``accuracy`` and ``f1_macro`` are those of the rows with a majority, against it, and missing if none has; ``kl`` is the
    mean divergence of the predictions from the shares of all rows, in nats.
    """
    _check_rows(shares)
    decided = (shares >= shares.max(axis=1, keepdims=True) - _EQUAL).sum(axis=1) == 1
    found = {}
    if decided.any():
        found = class_metrics(_largest(shares[decided]), _largest(probabilities[decided]), shares.shape[1])
    found["kl"] = divergence_metric(shares, probabilities)
    return found, decided


def divergence_metric(shares: NDArray[np.float64], probabilities: NDArray[np.float64]) -> Metric:
    """Return the mean divergence of predictions from the shares of votes, ``(rows, classes)`` each, in nats."""
    row_values = divergence(shares, probabilities)
    value = float(row_values.mean())
    return _of_rows("kl", value, len(shares), lambda weights: mean(weights, row_values), math.inf)


def mean_metric(of: Sequence[Metric]) -> Metric:
    """Return the mean of the same metric of several numbers of the same rows."""
    if len(of) == 1:
        return of[0]
    first = of[0]

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.mean([each.of_weights(weights) for each in of], axis=0)

    value = float(np.mean([each.value for each in of]))
    return _of_rows(first.name, value, len(first), of_weights, first.highest)


def share(name: str, hits: NDArray[np.bool_]) -> Metric:
    """Return the share of rows ``(rows,)`` that are hits, as a metric."""
    from sklearn.metrics import accuracy_score

    _check_rows(hits)
    hits = np.asarray(hits, bool)
    value = float(accuracy_score(np.ones(len(hits), bool), hits))
    row_values = hits.astype(np.float64)
    return Metric(name, value, np.arange(len(hits)), lambda weights: mean(weights, row_values), hits=hits)


def _check_rows(truth: NDArray[Any]) -> None:
    if not len(truth):
        raise ValueError("no row to measure on")


def _of_rows(name: str, value: float, num_rows: int, of_weights: OfWeights, highest: float = 1.0) -> Metric:
    return Metric(name, float(value), np.arange(num_rows), of_weights, highest=highest)


def _of_pairs(
    name: str,
    value: float,
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    num_classes: int,
    of_counts: OfWeights,
    highest: float = 1.0,
) -> Metric:
    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return of_counts(weights.reshape(-1, num_classes, num_classes))

    return Metric(
        name, float(value), truth * num_classes + predicted, of_weights, num_classes, highest=highest
    )


def _largest(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the column of each row's largest value; of equal ones the first."""
    return (-values).argsort(axis=1, kind="stable")[:, 0]
