"""The splits of a frame for a Lightning script of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bert_ft.data.data_report import DataReport
from bert_ft.data.frames import Frames, column_names
from bert_ft.data.long_texts import AUTO, LongTexts
from bert_ft.data.prepare import PreparedData, prepare, tokenized
from bert_ft.data.tokenization import FastTokenizer, length_limit
from bert_ft.errors import ConfigError, DataError
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.task import Task
from bert_ft.warn import warn_caller

PREDICT = "predict"


def prepare_frames(
    frame: Any,
    tokenizer: FastTokenizer,
    *,
    text: str | Sequence[str],
    label: str,
    validation: Any,
    task: Task | None,
    max_length: int | None,
    validation_ratio: float,
    seed: int,
    cache_dir: Path | str | None,
    long_texts: LongTexts,
) -> PreparedData:
    """Return ``train`` and ``validation``, and all rows of the frame as ``predict``; without labels only that.

    Raises:
        DataError: a column or row can't be used.
    """
    columns = [text] if isinstance(text, str) else list(text)
    if len(columns) > 2:
        raise ConfigError(f"text={columns}: give one column, or two for pairs")
    names: dict[str, Any] = {
        "text_column": columns[0],
        "text_pair_column": columns[1] if columns[1:] else None,
    }
    max_length = length_limit(tokenizer, max_length)
    task = task or SingleLabel()
    texts = Frames(frame, **names, label_column=None).load(cache_dir).splits["train"]
    if long_texts.mode == AUTO:
        raise ConfigError("long_texts=auto: choose cut or windows")
    rows = tokenized(PREDICT, texts, tokenizer, max_length, cache_dir, long_texts=long_texts)
    if label not in column_names(frame):
        report = DataReport(max_length, {}, 0, [], {}, [], [])
        return PreparedData({PREDICT: rows}, task, report, [], max_length, long_texts=long_texts)
    loaded = Frames(frame, validation, **names, label_column=label).load(cache_dir, labels=task.reader)
    data = prepare(
        loaded,
        tokenizer,
        task=task,
        max_length=max_length,
        seed=seed,
        validation_ratio=validation_ratio,
        test_ratio=0,
        cache_dir=cache_dir,
        long_texts=long_texts,
    )
    for sentence in data.report.warnings:
        warn_caller(sentence)
    return replace(data, splits={**data.splits, PREDICT: rows})


def with_labels_of(data: PreparedData, task: Task) -> PreparedData:
    """Return the data with the targets of another task that reads the same labels.

    Raises:
        DataError: a label of the data isn't one of the task's, or the tasks differ.
    """
    ours: Any = data.task  # fitted to the labels of the frame
    theirs = task
    if type(ours) is not type(theirs) or (
        isinstance(ours, Regression | Ordinal) and _numbers(ours) != _numbers(theirs)
    ):
        raise DataError(
            f"the frame's labels are those of another task than the module's: {ours.name} {_numbers(ours)}, not {theirs.name} "
            f"{_numbers(theirs)}"
        )
    if isinstance(ours, Ordinal) or not isinstance(ours, SingleLabel | MultiLabel | Regression):
        return data
    if unknown := [name for name in ours.names if name not in theirs.names]:
        raise DataError(
            f"the labels {', '.join(map(repr, unknown[:5]))} of the data are none of the module's "
            f"({', '.join(map(repr, theirs.names[:5]))}); give from_pretrained labels= with all labels of the data"
        )
    splits = {
        name: split if split.labels is None else replace(split, labels=_converted(split.labels, ours, theirs))
        for name, split in data.splits.items()
    }
    return replace(data, splits=splits, task=theirs)


def _numbers(task: Task) -> tuple[str, ...]:
    """Return the grades in their order, or the names of the numbers."""
    return tuple(getattr(task, "targets", None) or getattr(task, "order", None) or ())


def _converted(targets: np.ndarray, ours: Task, theirs: Task) -> np.ndarray:
    if isinstance(ours, Regression) and isinstance(theirs, Regression):
        return ((ours.in_unit(targets) - theirs.center) / theirs.scale).astype(targets.dtype)
    ids = np.array([theirs.names.index(name) for name in ours.names])
    if targets.ndim == 1:
        return ids[targets]
    found = np.zeros((len(targets), len(theirs.names)), targets.dtype)
    found[:, ids] = targets
    return found
