"""Rows with their truth and a model's logits, in the terms of metrics: the one place that knows the tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bert_ft.evaluation import metrics
from bert_ft.evaluation.metrics import Metric
from bert_ft.evaluation.weighted import mean
from bert_ft.tasks.confidence import JudgesConfidence, JudgesRows, prediction_probabilities
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.task import Task
from bert_ft.tasks.votes import Votes

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOSS = "loss"


class Measured(NamedTuple):
    """A metric, and the positions of the rows that it is of; ``None`` = all."""

    metric: Metric
    rows: NDArray[np.int64] | None = None


class Confidences(NamedTuple):
    """Probabilities and whether each came true, ``(decisions,)``: of predicted classes, or of each label of each row."""

    values: NDArray[np.float64]
    is_true: NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """Some rows.

    Attributes:
        task: the model's task.
        logits: ``(rows, outputs)``, finite.
        targets: ``(rows,)`` or ``(rows, width)``, as the task encodes them.
    """

    task: Task
    logits: NDArray[np.float32]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.logits)

    def of(self, rows: NDArray[Any]) -> Scored:
        """Return the rows at these positions, or of a mask."""
        return Scored(self.task, self.logits[rows], self.targets[rows])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, grades, labels or numbers."""
        task = self.task
        return task.targets if isinstance(task, Regression) else getattr(task, "class_names", task.names)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class of each row, ``(rows,)``; -1 for soft labels without a majority."""
        return np.asarray(self.task.majority_targets(self.targets), np.int64)

    @cached_property
    def decided(self) -> NDArray[np.int64]:
        """Positions of the rows that have a class."""
        return np.flatnonzero(self.labels >= 0)

    def with_class(self) -> tuple[Scored, NDArray[np.int64], NDArray[Any]]:
        """Return the rows that have a class, their positions and classes; of other tasks all rows and their targets."""
        if self.counts is None:
            return self, np.arange(len(self)), self.targets
        return self.of(self.decided), self.decided, self.labels[self.decided]

    @cached_property
    def predicted(self) -> NDArray[Any]:
        """Predicted class of each row, ``(rows,)``, labels ``(rows, labels)`` or numbers ``(rows, targets)``."""
        import torch

        task = self.task
        if isinstance(task, MultiLabel):
            return task.given(self.probabilities)
        if isinstance(task, Regression):
            return task.in_unit(self.logits[:, : len(task.targets)])
        assert isinstance(task, JudgesConfidence)
        return np.asarray(task.predicted(torch.from_numpy(self.logits)), np.int64)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each class or label, ``(rows, labels)``, as predictions have it."""
        import torch

        return self.task.outputs(torch.from_numpy(self.logits)).numpy().astype(np.float64)

    @cached_property
    def is_correct(self) -> NDArray[np.bool_] | None:
        """Which rows are right, ``(rows,)``; ``None`` for numbers. A row without a majority is not right."""
        if isinstance(self.task, MultiLabel):
            return (self.predicted == self.targets).all(axis=1)
        return self.predicted == self.labels if isinstance(self.task, JudgesConfidence) else None

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        """Which rows can be right or wrong, ``(rows,)``: not those whose votes have no majority."""
        return self.labels >= 0 if isinstance(self.task, JudgesConfidence) else np.ones(len(self), bool)

    @cached_property
    def confidence(self) -> NDArray[np.float64] | None:
        """Probability of each row's prediction, ``(rows,)``, of a set the product over all labels; ``None`` for numbers."""
        if isinstance(self.task, MultiLabel):
            return np.where(self.predicted, self.probabilities, 1 - self.probabilities).prod(axis=1)
        if not isinstance(self.task, JudgesConfidence):
            return None
        return self.probabilities[np.arange(len(self)), self.predicted]

    @cached_property
    def row_losses(self) -> NDArray[np.float64] | None:
        """The task's plain loss of each row, ``(rows,)``; ``None`` for a task that has none of rows."""
        import torch

        if not isinstance(self.task, JudgesRows):
            return None
        logits, targets = torch.from_numpy(self.logits).double(), torch.from_numpy(self.targets)
        if targets.is_floating_point():
            targets = targets.double()
        return self.task.row_losses(logits, targets).numpy()

    @cached_property
    def confidences(self) -> Confidences | None:
        """What calibration is about; ``None`` for numbers."""
        import torch

        task = self.task
        if isinstance(task, MultiLabel):
            return Confidences(self.probabilities.ravel(), self.targets.ravel().astype(bool))
        if not isinstance(task, JudgesConfidence) or not len(self.decided):
            return None
        rows = self.decided
        logits = task.class_logits(torch.from_numpy(self.logits[rows]).double()).numpy()
        top = prediction_probabilities(logits, self.labels[rows], self.predicted[rows])
        return Confidences(top.probabilities, top.is_correct)

    @cached_property
    def counts(self) -> NDArray[np.int64] | None:
        """Rows by truth and prediction, ``(classes, classes)``; ``None`` where rows have no class."""
        if not isinstance(self.task, JudgesConfidence):
            return None
        size, rows = len(self.names), self.decided
        pairs = self.labels[rows] * size + self.predicted[rows]
        return np.bincount(pairs, minlength=size**2).reshape(size, size)

    @cached_property
    def metrics(self) -> dict[str, Measured]:
        """The task's metrics in its order, and its loss; empty for a task of the user's own."""
        found = {name: self._of_rows(metric) for name, metric in self._task_metrics().items()}
        if found and self.row_losses is not None:
            losses = self.row_losses
            found[LOSS] = Measured(
                Metric(
                    LOSS,
                    float(losses.mean()),
                    np.arange(len(losses)),
                    lambda weights: mean(weights, losses),
                    highest=math.inf,
                )
            )
        order = [name for name in self.task.objectives if name in found]
        return {name: found[name] for name in [*order, *(name for name in found if name not in order)]}

    def target_metrics(self, index: int) -> dict[str, Metric]:
        """Return the metrics of one of several numbers."""
        assert isinstance(self.task, Regression)
        truth = self.task.in_unit(self.targets)
        return metrics.number_metrics(truth[:, index], self.predicted[:, index])

    def _of_rows(self, metric: Metric) -> Measured:
        return Measured(metric, self.decided if len(metric) < len(self) else None)

    def _task_metrics(self) -> dict[str, Metric]:
        task = self.task
        if isinstance(task, MultiLabel):
            return metrics.label_set_metrics(self.targets.astype(bool), self.predicted, self.probabilities)
        if isinstance(task, Regression):
            of_targets = [self.target_metrics(index) for index in range(len(task.targets))]
            return {name: metrics.mean_metric([each[name] for each in of_targets]) for name in of_targets[0]}
        if not isinstance(task, JudgesConfidence):
            return {}
        found: dict[str, Metric] = {}
        if len(rows := self.decided):
            of = metrics.grade_metrics if task.target_kind == "grades" else metrics.class_metrics
            found = of(self.labels[rows], self.predicted[rows], len(self.names))
        if isinstance(task, Votes):
            found["kl"] = metrics.divergence_metric(self.targets.astype(np.float64), self.probabilities)
        return found
