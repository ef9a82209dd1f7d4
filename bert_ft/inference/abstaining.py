"""What a saved model refuses to predict, and the sets of labels that it gives, from the scores of its validation rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_ft import layout
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.evaluation.abstention import Abstention, abstention
from bert_ft.evaluation.scored import Scored
from bert_ft.inference.conformal_columns import ConformalColumns, conformal_columns
from bert_ft.limits import BetweenZeroAndOne, check_limits
from bert_ft.tasks.task import Task


@dataclass(frozen=True)
class Promises:
    """The keys of ``abstain``; by default nothing is promised.

    Attributes:
        precision: least share of the answered rows that is right.
        risk: the same as 1 minus ``precision``.
        sets: probability that a set of labels holds the true one.

    Raises:
        ConfigError: a value is outside its limits, or both of the first two are given.
    """

    precision: BetweenZeroAndOne | None = None
    risk: BetweenZeroAndOne | None = None
    sets: BetweenZeroAndOne | None = None

    def __post_init__(self) -> None:
        check_limits("abstain", self)
        if self.precision is not None and self.risk is not None:
            raise ConfigError(
                f"abstain.precision={self.precision:g} abstain.risk={self.risk:g}: they mean the same, a risk being 1 minus a "
                "precision; give one of them"
            )

    @property
    def are_made(self) -> bool:
        """Whether anything is promised."""
        return (self.precision, self.risk, self.sets) != (None, None, None)


@dataclass(frozen=True)
class Abstaining:
    """What keeps the promises for the rows of a file.

    Attributes:
        task: the task of the model.
        key: the key and value that ``refusal`` comes from.
        refusal: which rows are answered; ``None``: all.
        sets: the columns of label sets or intervals; ``None``: none.
    """

    task: Task
    key: str
    refusal: Abstention | None
    sets: ConformalColumns | None

    def answers(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which rows are answered, ``(rows,)``."""
        if self.refusal is None:
            return np.ones(len(logits), bool)
        confidence = Scored(self.task, logits, np.empty(0)).confidence  # for which the truth isn't needed
        assert confidence is not None, "see abstaining"
        return confidence >= self.refusal.threshold

    def columns(self, logits: NDArray[np.float32]) -> dict[str, Any]:
        """Return the additional columns of these rows."""
        return {} if self.sets is None else self.sets.columns(logits)

    def has_empty_set(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the rows for which no label is likely enough, ``(rows,)``."""
        return np.zeros(len(logits), bool) if self.sets is None else self.sets.has_none(logits)

    def lines(self) -> Iterator[str]:
        """Yield what is promised."""
        if self.refusal is not None:
            yield f"{self.key}: {self.refusal.sentence()}"
        if self.sets is not None:
            yield self.sets.sentence()

    def kept(self, logits: NDArray[np.float32], targets: NDArray[Any]) -> Iterator[str]:
        """Yield how far the promises are kept on labeled rows."""
        if self.refusal is not None:
            scored = Scored(self.task, logits, targets)
            counted, right = scored.judged, scored.is_correct
            assert right is not None, "see abstaining"
            answered = self.answers(logits) & counted
            shown = f" ({answered.sum() / counted.sum():.0%})" if counted.any() else ""
            text = f"answered {answered.sum():,} of {counted.sum():,} labeled rows{shown}"
            yield text + (f", {right[answered].mean():.4f} of them right" if answered.any() else "")
        if self.sets is not None and (found := self.sets.kept(logits, targets)):
            yield found


def abstaining(task: Task, scores: Mapping[str, NDArray[Any]], promises: Promises) -> Abstaining | None:
    """Return what keeps the promises, from a saved model's ``validation_scores``; ``None`` if nothing is promised.

    Raises:
        CheckpointError: the saved model has no scores, or those of another one.
        ConfigError: the task has no predictions of this kind, or the rows can't prove the promise.
    """
    if not promises.are_made:
        return None
    name = next(name for name, value in vars(promises).items() if value is not None)
    logits, targets = _validation_rows(task, scores, needed_by=f"abstain.{name}")
    refusal, key = None, ""
    for name, value in (("precision", promises.precision), ("risk", promises.risk)):
        if value is None:
            continue
        key = f"abstain.{name}={value:g}"
        scored = Scored(task, logits, targets)
        if scored.confidence is None or scored.is_correct is None:
            raise ConfigError(
                f"{key}: a prediction of task={task.name} is neither right nor wrong, so it has no precision; abstain.sets gives "
                "intervals of numbers"
            )
        rows = scored.judged
        precision = value if name == "precision" else 1 - value
        refusal = abstention(
            scored.confidence[rows], scored.is_correct[rows], precision, key=f"abstain.{name}"
        )
    sets = None if promises.sets is None else conformal_columns(task, logits, targets, promises.sets)
    return Abstaining(task, key, refusal, sets)


def _validation_rows(
    task: Task, scores: Mapping[str, NDArray[Any]], *, needed_by: str
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return the logits and targets of the validation rows."""
    if not scores:
        raise CheckpointError(
            f"{needed_by}: the model has no {layout.VALIDATION_SCORES_FILE}, from which the promise is proved: it is of an earlier "
            "version, or was trained without calibrate=true; train it again with calibrate=true and validation rows"
        )
    logits, targets = (scores.get(name, np.empty(0)) for name in ("logits", "targets"))
    if len(logits) != len(targets) or logits.shape[1:] != (len(task.names),):
        raise CheckpointError(
            f"{needed_by}: {layout.VALIDATION_SCORES_FILE} has logits {logits.shape} and targets {targets.shape}, which don't fit "
            f"the model's {len(task.names)} outputs: it is another model's; train it again"
        )
    return logits, targets
