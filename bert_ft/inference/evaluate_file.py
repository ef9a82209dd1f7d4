"""Measure a saved model on a labeled file, alone or against another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bert_ft import layout
from bert_ft.data.dialect import DialectSettings
from bert_ft.data.targets import LabelNames, is_missing
from bert_ft.errors import DataError, UserError
from bert_ft.evaluation.evaluated_rows import EvaluatedRows
from bert_ft.evaluation.evaluation import Evaluation, evaluated
from bert_ft.evaluation.scored import Scored
from bert_ft.evaluation.training_labels import LABELS
from bert_ft.inference.labeled_file import LabeledFile, check_same_kind, labeled_file
from bert_ft.inference.values import field_text
from bert_ft.models.bundle import Bundle, load_bundle

GROUP_BY, CLUSTER_BY = "group_by", "cluster_by"
NO_VALUE = "(none)"  # a subgroup's name, of rows without one


def evaluate_file(
    bundle: Bundle,
    source: Path | str,
    *,
    name: str = "model",
    against: Bundle | None = None,
    against_name: str | None = None,
    group_by: str | None = None,
    cluster_by: str | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: LabelNames | None = None,
    settings: DialectSettings | None = None,
    batch_size: int = 128,
    max_tokens: int = 2048,
    device: torch.device | str = "cpu",
) -> tuple[Evaluation, EvaluatedRows]:
    """Return what a model reaches on the rows of a file that have a label that it knows, and those rows.

    Args:
        bundle: the model.
        source: csv, tsv, jsonl, json, txt or parquet, by suffix; all but parquet may be compressed.
        name: the model's name in sentences.
        against: another model of the same task and labels, measured on the same rows.
        against_name: its name.
        group_by: column whose values are subgroups.
        cluster_by: column whose equal values mark rows that belong together; a row without one stands alone.
        text_column: column of the texts; ``None`` = as in training.
        text_pair_column: column of the second texts of pairs; ``None`` = as in training.
        label_column: column of the labels, or several; ``None`` = as in training.
        settings: dialect of delimited files, if it shouldn't be detected.
        batch_size: maximum number of sequences in a batch.
        max_tokens: maximum number of tokens in a batch.
        device: device to compute on.

    Raises:
        ConfigError: the models have different tasks or labels.
        DataError: the file or a column can't be used, or no row has a label that the model knows.
    """
    if against is not None:
        check_same_kind(bundle, against)
    columns = {
        key: name for key, name in ((GROUP_BY, group_by), (CLUSTER_BY, cluster_by)) if name is not None
    }
    with labeled_file(
        bundle,
        source,
        text_column=text_column or bundle.text_column,
        text_pair_column=text_pair_column or bundle.text_pair_column,
        label_column=label_column or bundle.label_column,
        settings=settings,
        others=list(columns.items()),
    ) as file:
        how: dict[str, Any] = {"batch_size": batch_size, "max_tokens": max_tokens, "device": device}
        scored = Scored(bundle.task, file.logits(bundle, **how), file.targets)
        other = None
        if against is not None:
            other = Scored(against.task, file.logits(against, **how), file.targets_of(against.task))
        values = {key: [cell_text(value) for value in file.others[name]] for key, name in columns.items()}
        notes = list(file.notes)
        clusters = None
        if cluster_by is not None:
            clusters = clusters_of(values[CLUSTER_BY])
            if alone := values[CLUSTER_BY].count(""):
                notes.append(f"{alone:,} rows have no {cluster_by!r} (cluster_by); each of them stands alone")
        found = evaluated(
            scored,
            training=bundle.training.get(LABELS),
            clusters=clusters,
            groups=None if group_by is None else groups_of(values[GROUP_BY]),
            against=other,
        )
        return found, _rows(file, name, against_name if against is not None else None, columns, values, notes)


def load_other(folder: str, trust: Sequence[str]) -> Bundle:
    """Return the model to compare with; messages name its key."""
    try:
        return load_bundle(folder, trust)
    except UserError as error:
        raise type(error)(str(error).replace("bundle=", "against=", 1)) from error


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that can't be written, or has an evaluation, before any work is done.

    Raises:
        DataError: it can't be used.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"output={folder}: is a file; give a folder")
    if (folder / layout.EVALUATION_FILE).exists() and not overwrite:
        raise DataError(
            f"output={folder}: has an evaluation already; give another folder, or overwrite=true to replace it"
        )


def _rows(
    file: LabeledFile,
    name: str,
    against: str | None,
    columns: dict[str, str],
    values: dict[str, list[str]],
    notes: list[str],
) -> EvaluatedRows:
    texts = ["\n".join(text) for text in file.texts]
    return EvaluatedRows(
        str(file.path), name, against, file.rows, texts, file.reasons, file.unknown, columns, values, notes
    )


def cell_text(value: Any) -> str:
    """Return the value of a column of subgroups or clusters as text, empty if there is none."""
    return "" if is_missing(value) else field_text(value).strip()


def groups_of(values: Sequence[str]) -> list[str]:
    """Return the name of each row's subgroup from ``cell_text``."""
    return [value or NO_VALUE for value in values]


def clusters_of(values: Sequence[str]) -> np.ndarray:
    """Return ``(rows,)`` ids from ``cell_text``; a row without a value has one of its own."""
    keys = [f"={value}" if value else f"row {row}" for row, value in enumerate(values)]
    return np.unique(keys, return_inverse=True)[1]
