"""Columns of label sets, or of intervals of numbers, that hold the truth with a promised probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bert_ft.errors import ConfigError
from bert_ft.evaluation.conformal import ConformalSets, conformal_sets
from bert_ft.evaluation.scored import Scored
from bert_ft.tasks.confidence import JudgesConfidence
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.task import Task

KEY = "abstain.sets"
LABEL_SET = "label_set"
LOW, HIGH = "interval_low", "interval_high"


@dataclass(frozen=True)
class ConformalColumns:
    """The rule for each column: one for labels, one for each target of a regression.

    Attributes:
        task: the task of the model.
        rules: from scores that are 1 minus a probability, or distances from the predicted number.
    """

    task: Task
    rules: tuple[ConformalSets, ...]

    def columns(self, logits: NDArray[np.float32]) -> dict[str, Any]:
        """Return ``label_set``, the list of labels of each row, or the ends of the interval of each number."""
        if isinstance(self.task, Regression):
            of = [f"_{name}" for name in self.task.targets] if len(self.rules) > 1 else [""]
            predicted, unit = _numbers(self.task, logits)
            widths = unit * [rule.quantile for rule in self.rules]
            ends = {LOW: predicted - widths, HIGH: predicted + widths}
            return {
                f"{end}{name}": values[:, column]
                for column, name in enumerate(of)
                for end, values in ends.items()
            }
        names = self._names
        sets = self._sets(logits)
        rows = [[names[label] for label in np.flatnonzero(row)] for row in sets]
        return {LABEL_SET: pa.array(rows, pa.list_(pa.string()))}

    def has_none(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which rows have no label that is likely enough, ``(rows,)``; an empty set of any number of labels is one."""
        if not isinstance(self.task, JudgesConfidence):
            return np.zeros(len(logits), bool)
        return np.logical_not(self._sets(logits).any(axis=1))

    def sentence(self) -> str:
        """Return what is promised, in words."""
        rule = self.rules[0]
        if isinstance(self.task, Regression):
            of = " (for each number alone)" if len(self.rules) > 1 else ""
            what = f"{LOW} to {HIGH} holds the true number{of}"
        else:
            what = f"{LABEL_SET} holds {'the true label' if self._is_single else 'all true labels'}"
        return f"{KEY}={rule.promised:g}: {what} in {rule.promised:.4g} of new rows like the {rule.rows:,} validation rows"

    def kept(self, logits: NDArray[np.float32], targets: NDArray[Any]) -> str:
        """Return how far the promise is kept on labeled rows; nothing if none of them counts."""
        scores = _scores(self.task, logits, targets)
        if not len(scores):
            return ""
        held = scores <= [rule.quantile for rule in self.rules]
        shares = ", ".join(f"{share:.4f}" for share in held.mean(axis=0))
        if isinstance(self.task, Regression):
            return f"intervals hold the true number in {shares} of {len(held):,} labeled rows"
        size = self._sets(logits).sum(axis=1).mean()
        what = "the true label" if self._is_single else "all true labels"
        return f"label sets hold {what} in {shares} of {len(held):,} labeled rows, with {size:.2f} labels on average"

    @property
    def _is_single(self) -> bool:
        return isinstance(self.task, JudgesConfidence)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.task.class_names if isinstance(self.task, JudgesConfidence) else self.task.names

    def _sets(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        return self.rules[0].sets(Scored(self.task, logits, np.empty(0)).probabilities)


def conformal_columns(
    task: Task, logits: NDArray[np.float32], targets: NDArray[Any], coverage: float
) -> ConformalColumns:
    """Return the rules from validation rows.

    Raises:
        ConfigError: the task has neither probabilities of labels nor numbers.
        TooFewRowsError: there are too few rows.
    """
    scores = _scores(task, logits, targets)
    return ConformalColumns(task, tuple(conformal_sets(column, coverage, key=KEY) for column in scores.T))


def _scores(task: Task, logits: NDArray[np.float32], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far the truth is from the prediction, ``(rows, columns)``, of rows that count.

    For labels 1 minus the probability of the true one, of several the least likely, 0 without any; votes: of the majority.
    For numbers the distance, with ``task.variance`` in predicted standard deviations.
    """
    if isinstance(task, Regression):
        predicted, unit = _numbers(task, logits)
        return np.abs(task.in_unit(targets) - predicted) / unit
    scored = Scored(task, logits, targets)
    if isinstance(task, MultiLabel):
        return np.where(targets, 1 - scored.probabilities, 0.0).max(axis=1)[:, None]
    if isinstance(task, JudgesConfidence):
        rows = scored.decided
        return 1 - scored.probabilities[rows, scored.labels[rows]][:, None]
    raise ConfigError(f"{KEY}: task={task.name} has neither labels with probabilities nor numbers")


def _numbers(
    task: Regression, logits: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the predicted numbers in the file's unit, ``(rows, targets)``, and what their distances are divided by."""
    outputs = task.outputs(torch.from_numpy(logits)).numpy()
    predicted = outputs[:, : len(task.center)]
    return predicted, outputs[:, len(task.center) :] if task.variance else np.ones_like(predicted)
