"""A model measured on rows: metrics with intervals, classes, calibration, subgroups, and another model on the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_ft.evaluation.baseline import Baseline
from bert_ft.evaluation.calibration import Calibration, calibration
from bert_ft.evaluation.comparison import Comparison, compare
from bert_ft.evaluation.intervals import (
    ClassIntervals,
    Interval,
    class_intervals,
    interval,
    label_intervals,
    of_clusters,
)
from bert_ft.evaluation.metrics import Metric, label_metrics
from bert_ft.evaluation.resampling import RESAMPLES
from bert_ft.evaluation.scored import Scored
from bert_ft.evaluation.training_labels import baseline_of
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.set_scores import label_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_GROUPS = 100  # that are measured
_SEED = 0  # of the resamples: the same rows have the same intervals
_OWN = "the task's own metric"


@dataclass(frozen=True)
class Group:
    """The rows of a subgroup: how many, and their metrics."""

    rows: int
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        scored: the rows.
        metrics: metric → its interval.
        baseline: what guessing from the training labels gives; ``None`` if those aren't known.
        classes: scores of each class or label; none of numbers.
        targets: of several numbers, the metrics of each.
        calibration: ``None`` for numbers.
        groups: name of a subgroup → its rows, the largest first, at most ``MOST_GROUPS``.
        num_groups: number of all subgroups.
        comparisons: this model and another one, for each metric.
        num_clusters: groups of rows that belong together; 0 if rows are independent.
    """

    scored: Scored
    metrics: Mapping[str, Interval]
    baseline: Baseline | None
    classes: tuple[ClassIntervals, ...] = ()
    targets: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    calibration: Calibration | None = None
    groups: Mapping[str, Group] = field(default_factory=dict)
    num_groups: int = 0
    comparisons: Sequence[Comparison] = ()
    num_clusters: int = 0


def evaluated(
    scored: Scored,
    *,
    training: Mapping[str, Any] | None = None,
    clusters: NDArray[np.int64] | None = None,
    groups: Sequence[str] | None = None,
    against: Scored | None = None,
) -> Evaluation:
    """Measure a model.

    Args:
        scored: at least one row.
        training: ``training_labels`` of the model.
        clusters: ``(rows,)`` ids; rows with the same belong together.
        groups: ``(rows,)`` names of subgroups.
        against: another model's scores of the same rows, with the same labels.
    """
    confidences = scored.confidences
    return Evaluation(
        scored,
        intervals_of(scored, clusters),
        baseline_of(scored, training),
        scores_of_classes(scored, clusters),
        _targets(scored, clusters),
        None if confidences is None else calibration(*confidences),
        {} if groups is None else _groups(scored, clusters, groups),
        len(set(groups or ())),
        () if against is None else _comparisons(scored, against, clusters),
        0 if clusters is None else len(np.unique(clusters)),
    )


def intervals_of(
    scored: Scored, clusters: NDArray[np.int64] | None = None, num_resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return each metric of the rows with its interval; those of a user's own task have none."""
    if not (found := scored.metrics):
        return {name: Interval(value, None, None, "", _OWN) for name, value in _own_scores(scored).items()}
    return {
        name: _interval(
            metric, clusters if rows is None or clusters is None else clusters[rows], num_resamples
        )
        for name, (metric, rows) in found.items()
    }


def scores_of_classes(
    scored: Scored, clusters: NDArray[np.int64] | None = None
) -> tuple[ClassIntervals, ...]:
    """Return precision, recall and F1 of each class or label with intervals."""
    if isinstance(scored.task, MultiLabel):
        truth, predicted, rows = scored.targets.astype(bool), scored.predicted, None
        exact = label_intervals(label_counts(predicted, truth), scored.names)
    elif scored.counts is not None:
        rows, ids = scored.decided, np.arange(len(scored.names))
        exact = class_intervals(scored.counts, scored.names)
        truth = scored.labels[rows, None] == ids
        predicted = scored.predicted[rows, None] == ids
    else:
        return ()
    if clusters is None:
        return exact
    own = clusters if rows is None else clusters[rows]
    return tuple(
        ClassIntervals(
            each.name,
            each.rows,
            each.predicted,
            **_by_clusters(truth[:, index], predicted[:, index], own),
        )
        for index, each in enumerate(exact)
    )


def _by_clusters(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], clusters: NDArray[np.int64]
) -> dict[str, Interval]:
    among = {"precision": predicted, "recall": truth, "f1": truth | predicted}
    return {
        name: of_clusters(metric, among[name], clusters, np.random.default_rng(_SEED))
        for name, metric in label_metrics(truth, predicted).items()
    }


def _own_scores(scored: Scored) -> dict[str, float]:
    import torch

    return scored.task.scores(torch.from_numpy(scored.logits), torch.from_numpy(scored.targets))


def _interval(metric: Metric, clusters: NDArray[np.int64] | None, num_resamples: int = RESAMPLES) -> Interval:
    rng = np.random.default_rng(_SEED)
    return interval(metric, rng=rng, clusters=clusters, num_resamples=num_resamples)


def _targets(scored: Scored, clusters: NDArray[np.int64] | None) -> dict[str, dict[str, Interval]]:
    if not isinstance(scored.task, Regression) or len(scored.names) < 2:
        return {}
    return {
        target: {name: _interval(metric, clusters) for name, metric in scored.target_metrics(index).items()}
        for index, target in enumerate(scored.names)
    }


def _groups(scored: Scored, clusters: NDArray[np.int64] | None, names: Sequence[str]) -> dict[str, Group]:
    found = {}
    given = np.array(names, dtype=object)
    for name, count in Counter(names).most_common(MOST_GROUPS):
        rows = np.flatnonzero(given == name)
        own = None if clusters is None else clusters[rows]
        found[name] = Group(count, intervals_of(scored.of(rows), own))
    return found


def _comparisons(first: Scored, second: Scored, clusters: NDArray[np.int64] | None) -> list[Comparison]:
    return [
        compare(
            metric,
            second.metrics[name].metric,
            rng=np.random.default_rng(_SEED),
            clusters=clusters if rows is None or clusters is None else clusters[rows],
        )
        for name, (metric, rows) in first.metrics.items()
    ]
