"""95% intervals of metrics: exact for shares of rows, by resampling for others.

Coverage is measured in ``benchmarks/interval_coverage.py``, with its table in ``docs/evaluation.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from bert_ft.evaluation.metrics import Metric
from bert_ft.evaluation.resampling import RESAMPLES, counts_of, resampled, smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
EXACT = "Clopper-Pearson"
BY_ROWS = "resampled rows"
BY_CLUSTERS = "resampled groups"
MOST_SMOOTHED = 40_000  # pairs of truth and prediction; of more, only those that occur are drawn: 200 classes take a second
FEW_GROUPS = 20  # below, intervals hold the truth in clearly less than 93% of test sets


@dataclass(frozen=True)
class Interval:
    """A metric with its 95% interval, or with the reason why it has none.

    Attributes:
        value: of all rows; NaN where it isn't defined.
        low: lower end; ``None`` without an interval.
        high: upper end, above ``low``.
        method: how it was computed.
        reason: why there is no interval; else empty.
        num_resamples: resamples drawn; 0 for an exact interval.
        without_class: class id → number of resamples without a row of that class.
        num_undefined: resamples in which the metric isn't defined; they are left out.
        num_groups: clusters of the rows; 0 if rows are independent.
    """

    value: float
    low: float | None
    high: float | None
    method: str
    reason: str = ""
    num_resamples: int = 0
    without_class: Mapping[int, int] = field(default_factory=dict)
    num_undefined: int = 0
    num_groups: int = 0

    @property
    def caution(self) -> str:
        """What to know about the interval; mostly empty."""
        if self.low is not None and 0 < self.num_groups < FEW_GROUPS:
            return f"{self.num_groups} groups are few: the interval is too narrow"
        return ""

    def __str__(self) -> str:
        value = "not defined" if np.isnan(self.value) else f"{self.value:.4f}"
        return value if self.low is None else f"{value} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class ClassIntervals:
    """Scores of one class.

    Attributes:
        name: of the class.
        rows: rows of the class.
        predicted: rows predicted as it.
        precision: NaN without predictions.
        recall: NaN without rows.
        f1: NaN without both.
    """

    name: str
    rows: int
    predicted: int
    precision: Interval
    recall: Interval
    f1: Interval


def proportion(right: int, of: int) -> Interval:
    """Return the share ``right / of`` with its exact interval (Clopper and Pearson 1934): it covers at least 95%."""
    from scipy.stats import binomtest

    if not of:
        return Interval(np.nan, None, None, EXACT, "no row")
    found = binomtest(int(right), int(of)).proportion_ci(LEVEL, "exact")
    return Interval(right / of, float(found.low), float(found.high), EXACT)


def interval(
    metric: Metric,
    *,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
    num_resamples: int = RESAMPLES,
) -> Interval:
    """Return a metric with its 95% interval.

    A share of rows is exact. A metric of classes or grades takes the middle 95% of resamples of smoothed counts
    (``resampling.smoothed``), whose upper end is raised by the mean that the resamples fall below their source: with few rows
    in a class, F1 is too low on average. Other metrics take the middle 95% of resampled rows. Rows of a cluster belong
    together: whole clusters are resampled; with few the interval is too narrow (``Interval.caution``).

    Args:
        metric: see ``metrics``.
        rng: the source of randomness.
        clusters: ``(rows,)`` cluster ids, or ``None`` if the rows are independent.
        num_resamples: number of resamples.
    """
    if clusters is None and metric.hits is not None:
        return proportion(int(metric.hits.sum()), len(metric.hits))
    method = BY_ROWS if clusters is None else BY_CLUSTERS
    if not np.isfinite(metric.value):
        return Interval(metric.value, None, None, method, "not defined on these rows")
    num_groups = 0 if clusters is None else len(np.unique(clusters))
    if num_groups == 1:
        return Interval(metric.value, None, None, method, "all rows belong to one group")
    by_counts = clusters is None and metric.num_classes > 0
    smooth = by_counts and metric.num_units <= MOST_SMOOTHED
    drawn = resampled([metric], rng=rng, clusters=clusters, num_resamples=num_resamples, smooth=smooth)
    values = drawn.values[0]
    defined = values[np.isfinite(values)]
    undefined = len(values) - len(defined)
    if not len(defined) or np.ptp(defined) <= 1e-12 * abs(metric.value):
        if metric.hits is not None and metric.value in (0, 1):  # each cluster counts as a row
            exact = proportion(int(metric.value) * num_groups, num_groups)
            return replace(exact, method=f"{EXACT}, of groups", num_groups=num_groups)
        reason = "too few rows, or rows too alike: resamples don't differ"
        return Interval(
            metric.value, None, None, method, reason, num_resamples, drawn.without_class, undefined
        )
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if by_counts:
        source = metric.value
        if smooth:
            source = metric.of_weights(smoothed(counts_of(metric)).reshape(1, -1))[0]
        high = min(metric.highest, high + max(0.0, source - defined.mean()))
    low, high = min(low, metric.value), max(high, metric.value)
    return Interval(
        metric.value,
        float(low),
        float(high),
        method,
        num_resamples=num_resamples,
        without_class=drawn.without_class,
        num_undefined=undefined,
        num_groups=num_groups,
    )


def class_intervals(counts: NDArray[np.int64], names: Sequence[str]) -> tuple[ClassIntervals, ...]:
    """Return precision, recall and F1 of each class with exact intervals.

    ``counts`` are rows by truth and prediction, ``(classes, classes)``; see ``label_intervals``.
    """
    right, rows, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return label_intervals(np.stack([right, rows, predicted], axis=1), names)


def label_intervals(counts: NDArray[np.int64], names: Sequence[str]) -> tuple[ClassIntervals, ...]:
    """Return the same from ``(labels, 3)``: rows with label and prediction, with the label, with the prediction.

    F1 is ``2 J / (1 + J)`` of ``J``, the share of right rows among those that have the label or the prediction, so the exact
    interval of ``J`` gives that of F1. All are for independent rows; for clusters, take ``interval`` of
    ``metrics.label_metrics``.
    """
    return tuple(
        ClassIntervals(
            name,
            int(rows),
            int(predicted),
            proportion(right, predicted),
            proportion(right, rows),
            _f1(int(right), int(rows + predicted - right)),
        )
        for name, (right, rows, predicted) in zip(names, counts, strict=True)
    )


def _f1(right: int, either: int) -> Interval:
    found = proportion(right, either)
    if found.low is None or found.high is None:
        return found
    low, value, high = (2 * share / (1 + share) for share in (found.low, found.value, found.high))
    return Interval(value, low, high, found.method)
