"""Texts of a file and, row by row, its labels and other values; a row that can't be used doesn't affect the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.dialect import DialectSettings
from bert_ft.data.row_validation import shown_names
from bert_ft.data.targets import LabelNames, first_label
from bert_ft.data.text_file import check_is_file
from bert_ft.data.tokenization import tokenize
from bert_ft.errors import DataError
from bert_ft.inference.input_rows import LABEL, PLAIN, TEXT, InputRows, open_rows
from bert_ft.models.bundle import Bundle

EMPTY, MISSING, NO_TEXT, UNDECODABLE = "empty", "missing", "not a text", "undecodable"


@dataclass(frozen=True)
class ReadTexts:
    """The texts and labels of a file.

    Attributes:
        texts: the usable texts.
        reasons: for each row why it isn't usable, or ``None``.
        labels: labels of the usable rows.
        others: values of further columns of the usable rows.
    """

    texts: Dataset
    reasons: list[str | None]
    labels: list[Any]
    others: dict[str, list[Any]]

    def tokenized(self, bundle: Bundle, folder: str) -> TokenizedSplit:
        """Return the usable texts as a model reads them; what is stored is in ``folder``."""
        columns = tokenize(self.texts, bundle.tokenizer, bundle.max_length, folder, bundle.long_texts)
        return TokenizedSplit.from_columns("input", columns, self.texts)


def open_texts(
    source: Path,
    settings: DialectSettings | None,
    text_column: str,
    pair_column: str | None,
    label_column: LabelNames | None,
) -> tuple[InputRows, list[str], LabelNames | None]:
    """Return the rows of a file, its text columns, and the label columns if there are any.

    Raises:
        DataError: the file can't be read, or a text column is missing.
    """
    rows = open_rows(
        source,
        settings or DialectSettings(prefix=""),
        text_column=text_column,
        text_pair_column=pair_column,
        label_column=first_label(label_column),
    )
    return rows, *_text_and_label(rows, text_column, pair_column, label_column)


def check_source(source: Path) -> None:
    """Refuse what isn't a file.

    Raises:
        DataError: it is missing or a folder.
    """
    check_is_file(source, "input=")
    if source.is_dir():
        raise DataError(f"input={source}: is a folder; give a file")


def _text_and_label(
    rows: InputRows, text_column: str, pair_column: str | None, label_column: LabelNames | None
) -> tuple[list[str], LabelNames | None]:
    """Return the text columns, and the label columns if there are any."""
    if rows.kind == PLAIN:
        return [TEXT], LABEL if label_column is not None and LABEL in rows.columns else None
    texts = [text_column] if pair_column is None else [text_column, pair_column]
    for key, name in zip(("text_column", "text_pair_column"), texts, strict=False):
        if name not in rows.columns:
            shown = shown_names(rows.columns)
            advice = f"set {key} to the column of the texts" if key == "text_column" else f"set {key}"
            raise DataError(f"{rows.path}: no column {name!r} ({key}); the columns are {shown}; {advice}")
    if len(set(texts)) < len(texts):
        raise DataError(f"{rows.path}: text_column and text_pair_column are the same column {text_column!r}")
    if label_column is None or isinstance(label_column, str):
        return texts, label_column if label_column in rows.columns else None
    missing = [name for name in label_column if name not in rows.columns]
    if missing and len(missing) < len(label_column):
        rows.notes.append(f"{rows.path}: not scored, since there is no column {shown_names(missing)}")
    return texts, None if missing else label_column


def read_texts(
    rows: InputRows, texts: Sequence[str], label: LabelNames | None, folder: str, others: Sequence[str] = ()
) -> ReadTexts:
    """Return the texts, stored in ``folder``, with the labels and the values of the columns ``others``.

    Raises:
        DataError: there are no rows.
    """
    reasons: list[str | None] = []
    labels: list[Any] = []
    names = ["text", "text_pair"][: len(texts)]
    schema = pa.schema([(name, pa.string()) for name in names])
    of_label = [] if label is None else [label] if isinstance(label, str) else list(label)
    kept: dict[str, list[Any]] = {name: [] for name in others}
    columns = list(dict.fromkeys([*texts, *of_label, *others]))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows.batches(columns):
            usable: list[list[str]] = []
            for values, fault in batch:
                cells = dict(zip(columns, values, strict=True))
                found = [_as_text(cells[name]) for name in texts]
                reason = fault or reason_of(found)
                reasons.append(reason)
                if reason is None:
                    usable.append([text or "" for text in found])
                    if label is not None:
                        given = {name: cells[name] for name in of_label}
                        labels.append(given[label] if isinstance(label, str) else given)
                    for name in kept:
                        kept[name].append(cells[name])
            yield pa.RecordBatch.from_pydict(
                {name: [row[index] for row in usable] for index, name in enumerate(names)}, schema=schema
            )

    stored = stored_dataset(schema, batches(), folder)
    if not reasons:
        raise DataError(f"{rows.path}: there are no rows")
    return ReadTexts(stored, reasons, labels, kept)


def _as_text(cell: Any) -> Any:
    """Return a value with bytes decoded as text, since some writers store texts as bytes."""
    return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell


def reason_of(texts: Sequence[Any]) -> str | None:
    """Return why a row's texts can't be used, or ``None``; one text of a pair may be empty."""
    if any(text is not None and not isinstance(text, str) for text in texts):
        return NO_TEXT
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            return UNDECODABLE
    if any(text and text.strip() for text in texts):
        return None
    return MISSING if all(text is None for text in texts) else EMPTY
