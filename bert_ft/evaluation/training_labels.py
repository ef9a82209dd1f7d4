"""What the training rows' labels were: recorded when a model is saved, and the guess that they give for other rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_ft.evaluation.baseline import Baseline, frequent_labels, largest_class, mean_shares, training_mean
from bert_ft.evaluation.scored import Scored
from bert_ft.tasks.confidence import JudgesConfidence
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.task import Task
from bert_ft.tasks.votes import Votes

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELS = "labels"  # entry of the saved folder's own record of its training


def training_labels(task: Task, targets: NDArray[Any]) -> dict[str, Any]:
    """Return the number of rows and ``counts`` of each class or label, or the mean ``shares`` of soft labels.

    Numbers have no entry of their own, since the task has their mean; a task of the user's own has none.
    """
    found: dict[str, Any] = {"rows": len(targets)}
    if isinstance(task, Votes):
        return found | {"shares": targets.astype(np.float64).mean(axis=0).round(9).tolist()}
    if isinstance(task, MultiLabel):
        return found | {"counts": targets.sum(axis=0).astype(int).tolist()}
    if isinstance(task, JudgesConfidence) and np.ndim(targets) == 1:
        return found | {"counts": np.bincount(targets, minlength=len(task.class_names)).tolist()}
    return found


def baseline_of(scored: Scored, labels: Mapping[str, Any] | None) -> Baseline | None:
    """Return what guessing from the training labels gives for these rows; ``None`` if they aren't known."""
    task, labels = scored.task, labels or {}
    if isinstance(task, Regression):
        return _of_numbers(scored, task)
    if isinstance(task, Votes) and "shares" in labels:
        shares = np.array(labels["shares"])
        return mean_shares(shares / shares.sum(), scored.targets.astype(np.float64))
    if "counts" not in labels or len(labels["counts"]) != len(scored.names):
        return None
    counts = labels["counts"]
    if isinstance(task, MultiLabel):
        return frequent_labels(counts, labels["rows"], scored.targets.astype(bool), scored.names)
    truth = scored.labels[scored.decided]
    if not len(truth):
        return None
    return largest_class(counts, truth, scored.names, grades=task.target_kind == "grades")


def _of_numbers(scored: Scored, task: Regression) -> Baseline:
    truth = task.in_unit(scored.targets)
    found = [training_mean(mean, truth[:, index]) for index, mean in enumerate(task.center)]
    if len(found) == 1:
        return found[0]
    names = [name for name in found[0].values if all(name in each.values for each in found)]
    return Baseline(
        "always the mean of the training rows",
        {name: float(np.mean([each.values[name] for each in found])) for name in names},
    )
