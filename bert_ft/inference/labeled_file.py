"""A file of labeled rows, read as prediction reads it, and the logits of models for its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bert_ft.data.dialect import DialectSettings
from bert_ft.data.row_validation import shown_names
from bert_ft.data.targets import LabelNames
from bert_ft.errors import ConfigError, DataError
from bert_ft.inference.files import own_keys
from bert_ft.inference.read_texts import ReadTexts, check_source, open_texts, read_texts
from bert_ft.inference.scores import KnownLabels, known_labels
from bert_ft.models.bundle import Bundle
from bert_ft.models.outputs import compute_outputs_and_logits
from bert_ft.tasks.task import Task

UNLABELED, UNKNOWN = "no label", "unknown label"
_SHOWN = 5


@dataclass(frozen=True)
class LabeledFile:
    """The rows of a file that have a text and a label that the model knows: the scored rows.

    Attributes:
        path: the file.
        reasons: for each row of the file why it isn't scored, or ``None``.
        rows: ``(scored,)`` their numbers in the file, from 1 without the header.
        targets: ``(scored, ...)`` their targets.
        texts: ``(scored,)`` their texts; of pairs both.
        others: values of further columns, ``(scored,)`` each.
        unknown: row of the file → its label, for labels that the model doesn't know.
        notes: sentences on how the file was read.
    """

    path: Path
    reasons: list[str | None]
    rows: np.ndarray
    targets: np.ndarray
    texts: list[tuple[str, ...]]
    others: dict[str, list[Any]]
    unknown: dict[int, str]
    notes: list[str]
    _read: ReadTexts
    _positions: np.ndarray  # of the scored rows among those with a text
    _folder: str

    def logits(
        self,
        bundle: Bundle,
        *,
        batch_size: int = 128,
        max_tokens: int = 2048,
        device: torch.device | str = "cpu",
    ) -> np.ndarray:
        """Return the logits of a model for the scored rows, ``(scored, outputs)`` float32.

        Raises:
            DataError: the model gives outputs that aren't finite.
        """
        split = self._read.tokenized(bundle, self._folder).select(self._positions)
        _, logits = compute_outputs_and_logits(
            bundle.classifier, bundle.task, split, batch_size=batch_size, max_tokens=max_tokens, device=device
        )
        if not np.isfinite(logits).all():
            row = self.rows[np.flatnonzero(~np.isfinite(logits).all(axis=1))[0]]
            raise DataError(
                f"{self.path}, row {row}: the model's outputs aren't finite; its weights are damaged"
            )
        return logits

    def targets_of(self, task: Task) -> np.ndarray:
        """Return the targets of the scored rows as another task with the same labels encodes them."""
        labels = [self._read.labels[position] for position in self._positions]
        known = known_labels(task, labels)
        if known.targets is None or len(known.rows) < len(labels):
            raise ConfigError(
                "against: this model reads the labels of these rows otherwise (the columns, their order or the delimiter)"
            )
        return known.targets


@contextmanager
def labeled_file(
    bundle: Bundle,
    source: Path | str,
    *,
    text_column: str,
    text_pair_column: str | None = None,
    label_column: LabelNames,
    settings: DialectSettings | None = None,
    others: Sequence[tuple[str, str]] = (),
) -> Iterator[LabeledFile]:
    """Yield the labeled rows of a file; what is stored of its texts is removed at the end.

    Args:
        bundle: the model, whose task reads the labels.
        source: csv, tsv, jsonl, json, txt or parquet, by suffix; all but parquet may be compressed.
        text_column: column of the texts; ignored for plain lines.
        text_pair_column: column of the second texts of pairs.
        label_column: column of the labels, or several.
        settings: dialect of delimited files, if it shouldn't be detected.
        others: key and name of further columns.

    Raises:
        DataError: a file or column can't be used, or no row has a label that the model knows.
    """
    source = Path(source).expanduser()
    check_source(source)
    with own_keys(), TemporaryDirectory(prefix="bert_ft_") as folder:
        rows, texts, label = open_texts(source, settings, text_column, text_pair_column, label_column)
        wanted = [("label_column", name) for name in _names(label_column)] if label is None else []
        for key, name in (*wanted, *others):
            if name not in rows.columns:
                shown = shown_names(rows.columns)
                raise DataError(f"{source}: no column {name!r} ({key}); the columns are {shown}; set {key}")
        if label is None:
            raise DataError(f"{source}: has no labels; give a file with a column of them (label_column)")
        read = read_texts(rows, texts, label, folder, [name for _, name in others])
        known = known_labels(bundle.task, read.labels)
        if known.targets is None:
            raise DataError(_nothing_known(source, bundle.task, read, known))
        with_text = np.flatnonzero([reason is None for reason in read.reasons])
        reasons = list(read.reasons)
        for position, unknown in known.unknown.items():
            reasons[with_text[position]] = UNLABELED if unknown is None else UNKNOWN
        scored = read.texts.select(known.rows)
        yield LabeledFile(
            source,
            reasons,
            with_text[known.rows] + 1,
            known.targets,
            list(zip(*(scored[name] for name in scored.column_names), strict=True)),
            {name: [values[row] for row in known.rows] for name, values in read.others.items()},
            {int(with_text[p]) + 1: name for p, name in known.unknown.items() if name is not None},
            rows.notes,
            read,
            known.rows,
            folder,
        )


def check_same_kind(bundle: Bundle, other: Bundle, key: str = "against") -> None:
    """Refuse to compare models of different tasks, classes or inputs.

    Raises:
        ConfigError: they differ.
    """
    first, second = bundle.task, other.task
    if first.name != second.name:
        raise ConfigError(f"{key}: is a model of task={second.name}, not of task={first.name}")
    ours, theirs = (
        tuple(getattr(task, "targets", ()) or getattr(task, "class_names", task.names))
        for task in (first, second)
    )
    # the order counts for grades alone
    if (ours != theirs) if first.target_kind == "grades" else (set(ours) != set(theirs)):
        raise ConfigError(
            f"{key}: has the labels {_few(theirs)}, not {_few(ours)}; compare models of the same labels"
        )
    if (bundle.text_pair_column is None) != (other.text_pair_column is None):
        raise ConfigError(f"{key}: one of the models reads single texts, the other one pairs")


def _nothing_known(source: Path, task: Task, read: ReadTexts, known: KnownLabels) -> str:
    if not any(reason is None for reason in read.reasons):
        return f"{source}: no row has a text that can be used"
    if not known.unknown_counts:
        return f"{source}: no row has a label"
    found = _few([name for name, _ in known.unknown_counts.most_common(_SHOWN + 1)])
    names = getattr(task, "class_names", task.names)
    expected = "numbers" if task.target_kind == "numbers" else _few(names)
    return (
        f"{source}: no row has a label that the model knows: the file has {found}; task={task.name} of this folder expects "
        f"{expected}"
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")


def _names(label: LabelNames) -> list[str]:
    return [label] if isinstance(label, str) else list(label)
