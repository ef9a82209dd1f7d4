"""Checks of records: from raw values to rows of texts and labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from reprlib import repr  # cuts long values short
from typing import Any

import pyarrow as pa

from bert_ft.data.targets import LabelNames, LabelReader, LabelTexts, cell_reader
from bert_ft.errors import DataError

BATCH_ROWS = 1000  # records held in memory at a time


@dataclass(frozen=True)
class Columns:
    """The columns of a source and their roles.

    Attributes:
        text: column of the text, or of the first text of a pair.
        text_pair: column of the second text of a pair.
        label: column of the label, or several that have it together; ``None`` for unlabeled rows.
        labels: reader of the labels.
        class_names: class names, if labels are stored as class numbers; -1 then means no label.
        allow_half_pairs: accept a pair with one empty text.
    """

    text: str
    text_pair: str | None = None
    label: LabelNames | None = None
    labels: LabelReader = field(default_factory=LabelTexts)
    class_names: Sequence[str] | None = None
    allow_half_pairs: bool = False

    @property
    def names(self) -> list[str]:
        return [name for name in (self.text, self.text_pair, *self.label_names) if name is not None]

    @property
    def label_names(self) -> list[str]:
        """The columns of the label."""
        return [] if self.label is None else [self.label] if isinstance(self.label, str) else list(self.label)

    @property
    def label_type(self) -> pa.DataType:
        """The type of the stored labels."""
        if self.label is None or isinstance(self.label, str):
            return self.labels.stored_type
        cell = cell_reader(self.labels, self.label)
        return pa.struct([(name, cell.stored_type) for name in self.label])

    @property
    def schema(self) -> pa.Schema:
        """The schema of the checked rows: ``text`` and, if they exist, ``text_pair`` and ``label``."""
        given = {"text": self.text, "text_pair": self.text_pair, "label": self.label}
        types = {"label": self.label_type} if self.label is not None else {}
        return pa.schema(
            [(name, types.get(name, pa.string())) for name, column in given.items() if column is not None]
        )

    def check_present(self, existing: Iterable[str], origin: str, hint: str = "") -> None:
        """Raise ``DataError`` if a column isn't among the ``existing``, or one column has two roles.

        ``hint`` is the advice if no column has a similar name.
        """
        existing = list(existing)
        if self.text is None:  # which only a hub data set may leave open
            raise DataError(f"{origin}: data.text_column=null: name the column of the texts")
        for key in ("text", "text_pair", "label"):
            names = self.label_names if key == "label" else [getattr(self, key)]
            for name in names:
                if name is None or name in existing:
                    continue
                advice = _similar(name, existing, f"data.{key}_column") or hint
                raise DataError(
                    f"{origin}: no column {name!r} (data.{key}_column); the columns are "
                    f"{shown_names(existing)}{advice}"
                )
        if len(set(self.names)) < len(self.names):
            raise DataError(f"{origin}: the same column is used twice: {', '.join(self.names)}")


def shown_names(names: Sequence[str], most: int = 30) -> str:
    """Return column names for a message; if there are many, only the first."""
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _similar(name: str, existing: list[str], key: str) -> str:
    close = [other for other in existing if other.strip().casefold() == name.strip().casefold()]
    close = close or get_close_matches(name, existing, n=1)
    return f"; did you mean {key}={close[0]}?" if close else ""


def checked_rows(
    batches: Iterable[dict[str, list[Any]]], columns: Columns, origin: str, notes: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield batches of ``columns.schema``; no text or label in them is missing.

    White space at the ends of labels is stripped; a sentence is added to ``notes`` at the end if there was any.

    Raises:
        DataError: a row can't be used, or there are none.
    """
    first_row = 1
    spaced = _Spaced()
    for batch in batches:
        check_texts(batch, columns, origin, first_row)
        arrays = {"text": batch[columns.text]}
        if columns.text_pair is not None:
            arrays["text_pair"] = batch[columns.text_pair]
        if columns.label is not None:
            for name in columns.label_names:
                spaced.count(batch[name], first_row)
            arrays["label"] = _labels(batch, columns, origin, first_row)
        yield pa.RecordBatch.from_pydict(arrays, schema=columns.schema)
        first_row += len(batch[columns.text])
    if first_row == 1:
        raise DataError(f"{origin}: there are no rows")
    if notes is not None and spaced.num_rows:
        notes.append(
            f"{origin}: labels with white space at their ends, which was removed: {spaced.num_rows} "
            f"(the first is {spaced.first!r} in row {spaced.first_row})"
        )


@dataclass
class _Spaced:
    """Labels with white space at their ends."""

    num_rows: int = 0
    first: str = ""
    first_row: int = 0

    def count(self, values: list[Any], first_row: int) -> None:
        for row, value in enumerate(values, first_row):
            if isinstance(value, str) and value != value.strip():
                if not self.num_rows:
                    self.first, self.first_row = value, row
                self.num_rows += 1


def check_texts(batch: dict[str, list[Any]], columns: Columns, origin: str, first_row: int) -> None:
    """Raise ``DataError`` at the first value of ``batch`` that isn't a text or is empty."""
    names = [columns.text] if columns.text_pair is None else [columns.text, columns.text_pair]
    for row, texts in enumerate(zip(*(batch[name] for name in names), strict=True), first_row):
        blank = [
            _is_blank(text, f"{origin}, row {row}, column {name!r}")
            for text, name in zip(texts, names, strict=True)
        ]
        if all(blank) or (any(blank) and not columns.allow_half_pairs):
            name = names[blank.index(True)]
            raise DataError(
                f"{origin}, row {row}, column {name!r}: the text is empty; fill it or drop the row"
            )


def _is_blank(text: Any, place: str) -> bool:
    if isinstance(text, str):
        return not text.strip()
    if text is None or text != text:  # NaN, which stands for a missing value
        raise DataError(f"{place}: the text is missing; fill it or drop the row")
    raise DataError(f"{place}: {repr(text)} ({type(text).__name__}) isn't a text; write it as a string")


def _labels(batch: dict[str, list[Any]], columns: Columns, origin: str, first_row: int) -> list[Any]:
    """Return the labels as they are stored; of several columns, mappings of their names."""
    several = not isinstance(columns.label, str)
    reader = cell_reader(columns.labels, columns.label_names) if several else columns.labels
    read = [
        [
            reader.read(value, f"{origin}, row {row}, column {name!r}", columns.class_names)
            for row, value in enumerate(batch[name], first_row)
        ]
        for name in columns.label_names
    ]
    if not several:
        return read[0]
    return [dict(zip(columns.label_names, cells, strict=True)) for cells in zip(*read, strict=True)]
