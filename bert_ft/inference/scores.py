"""Scores of predictions on a file that has labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from bert_ft.data.raw_splits import boolean_name
from bert_ft.data.row_validation import Columns
from bert_ft.data.targets import cell_reader, is_missing
from bert_ft.errors import DataError
from bert_ft.inference.abstaining import Abstaining
from bert_ft.tasks.task import Task

_MOST_SHOWN = 5


@dataclass(frozen=True)
class Scores:
    """Scores over the rows that have a prediction.

    Attributes:
        values: metric → value, over the rows whose label the task knows; empty if there are none.
        num_rows: number of those rows.
        unknown: label → number of rows, for labels that the task doesn't know.
        num_unlabeled: number of rows without a label.
        promises: sentences on how far promises are kept.
        only_answered: whether some rows may be refused, which don't count.
    """

    values: dict[str, float]
    num_rows: int
    unknown: Counter[str] = field(default_factory=Counter)
    num_unlabeled: int = 0
    promises: tuple[str, ...] = ()
    only_answered: bool = False

    def __str__(self) -> str:
        if self.values:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in self.values.items())
            kind = "labeled rows that are answered" if self.only_answered else "labeled rows"
            text = f"{shown} on the {self.num_rows} {kind}"
        elif self.only_answered and self.promises:
            text = "no scores: no labeled row is answered"
        else:
            text = "no scores: no row has a label that the model knows"
        if self.unknown:
            shown = ", ".join(f"{name!r} ({count})" for name, count in self.unknown.most_common(_MOST_SHOWN))
            more = ", …" if len(self.unknown) > _MOST_SHOWN else ""
            text += f"; {self.unknown.total()} have a label that the model doesn't know: {shown}{more}"
        if self.num_unlabeled:
            text += f"; {self.num_unlabeled} have none"
        return "\n".join([*self.promises, text])


@dataclass(frozen=True)
class KnownLabels:
    """The labels of a file that the task knows, and what is known of the others.

    Attributes:
        rows: ``(known,)`` positions of the rows whose label the task knows.
        targets: ``(known, ...)``; ``None`` if there are none.
        unknown: the label of each other row, by its position; ``None`` for a row without one.
    """

    rows: np.ndarray
    targets: np.ndarray | None
    unknown: dict[int, str | None]

    @property
    def unknown_counts(self) -> Counter[str]:
        """Label → number of rows, for labels that the task doesn't know."""
        return Counter(label for label in self.unknown.values() if label is not None)

    @property
    def num_unlabeled(self) -> int:
        """Number of rows without a label."""
        return sum(label is None for label in self.unknown.values())


def known_labels(task: Task, labels: Sequence[Any]) -> KnownLabels:
    """Return the targets of labels as they are in a file; of several columns, each is a mapping of their names."""
    targets: dict[str, np.ndarray | None] = {}  # None: an unknown label
    known: list[int] = []
    found: list[np.ndarray] = []
    unknown: dict[int, str | None] = {}
    none_given = all(map(_is_missing, labels))  # an empty text may be a label: that of a row without any
    for row, label in enumerate(labels):
        key = f"{type(label).__name__} {label!r}"
        if key not in targets:
            targets[key] = None if none_given else _target(task, label)
        if (target := targets[key]) is not None:
            known.append(row)
            found.append(target)
        else:
            unknown[row] = None if _is_missing(label) else str(label)
    return KnownLabels(np.array(known, np.int64), np.concatenate(found) if found else None, unknown)


def score(
    task: Task, labels: Sequence[Any], logits: np.ndarray, refusing: Abstaining | None = None
) -> Scores:
    """Return the task's metrics.

    Args:
        task: the fitted task.
        labels: each row's label as in the file; see ``known_labels``.
        logits: ``(num_rows, num_labels)``.
        refusing: which rows have no prediction and don't count.
    """
    known = known_labels(task, labels)
    if known.targets is None:
        return Scores({}, 0, known.unknown_counts, known.num_unlabeled)
    kept, targets = logits[known.rows], known.targets
    promises: tuple[str, ...] = ()
    if refusing is not None:
        promises = tuple(refusing.kept(kept, targets))
        answered = refusing.answers(kept)
        kept, targets = kept[answered], targets[answered]
    values = task.scores(torch.from_numpy(kept), torch.from_numpy(targets)) if len(kept) else {}
    refuses = refusing is not None and refusing.refusal is not None
    return Scores(values, len(kept), known.unknown_counts, known.num_unlabeled, promises, refuses)


def _is_missing(label: Any) -> bool:
    return all(map(is_missing, label.values())) if isinstance(label, dict) else is_missing(label)


def _target(task: Task, label: Any) -> np.ndarray | None:
    """Return the label as the task encodes it, ``(1, ...)``, or ``None`` if the task doesn't know it."""
    target = _encoded(task, label)
    if target is None and isinstance(
        label, str
    ):  # a csv file of pandas has True where the labels of training became true
        return _encoded(task, boolean_name(label))
    if (
        target is None and isinstance(label, float) and label.is_integer()
    ):  # a column of whole numbers with a missing one
        return _encoded(task, int(label))
    return target


def _encoded(task: Task, label: Any) -> np.ndarray | None:
    try:
        columns = Columns("", label=tuple(label) if isinstance(label, dict) else "label", labels=task.reader)
        if isinstance(label, dict):
            cell = cell_reader(task.reader, list(label))
            stored = {name: cell.read(value, "the label") for name, value in label.items()}
        else:
            stored = task.reader.read(label, "the label")
        return task.encode(pa.chunked_array([pa.array([stored], columns.label_type)]))
    except (DataError, pa.ArrowException):
        return None
