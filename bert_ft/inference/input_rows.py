"""The rows of a file exactly as written, so that predictions can be added to them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from bert_ft.data.csv_reader import CsvReader
from bert_ft.data.dialect import DialectSettings
from bert_ft.data.json_reader import LINES, JsonReader
from bert_ft.data.lines_reader import FASTTEXT, LABEL, TEXT, LinesReader
from bert_ft.data.parquet_reader import ParquetReader, plain_values
from bert_ft.data.readers import Reader, open_reader
from bert_ft.data.text_file import UTF_8, encoding_of_mark, open_text, unpacked_suffix
from bert_ft.errors import DataError
from bert_ft.inference.delimited_rows import delimited_rows

MALFORMED = "malformed"
BATCH_ROWS = 1000
DELIMITED, JSON, PLAIN, TYPED = "delimited", "json", "plain", "typed"


@dataclass(frozen=True)
class InputRow:
    """One row.

    Attributes:
        cells: column → value, or the values in the order of the columns.
        raw: its exact characters in the file with the line end; "" if there are none, as in parquet.
        fault: why the row is malformed, or ``None``.
        is_blank: whether it is an empty line rather than a row.
        is_exact: whether ``raw`` has as many fields as there are columns, so that more can be added to it.
    """

    cells: Mapping[str, Any] | Sequence[Any]
    raw: str = ""
    fault: str | None = None
    is_blank: bool = False
    is_exact: bool = True


class InputRows(ABC):
    """A file's rows, which can be read several times.

    Attributes:
        kind: kind of the file.
        path: the file.
        columns: its columns; for JSON the keys of the first rows, later rows may have others.
        notes: sentences on how it is read.
    """

    kind: ClassVar[str]
    path: Path
    columns: tuple[str, ...]
    notes: list[str]

    @abstractmethod
    def __iter__(self) -> Iterator[InputRow]:
        """Yield the rows in order, including empty lines."""

    def value(self, row: InputRow, column: str) -> Any:
        """Return a row's value in a column; ``None`` if it has none."""
        if isinstance(row.cells, Mapping):
            return row.cells.get(column)
        return row.cells[self.columns.index(column)]

    def batches(self, columns: Sequence[str]) -> Iterator[list[tuple[list[Any], str | None]]]:
        """Yield the values of some columns and the fault of each row; empty lines are left out."""
        batch = []
        for row in self:
            if not row.is_blank:
                batch.append(([self.value(row, name) for name in columns], row.fault))
            if len(batch) == BATCH_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch


class DelimitedRows(InputRows):
    """Rows of a csv, tsv or other delimited file."""

    kind = DELIMITED

    def __init__(self, reader: CsvReader) -> None:
        self.path, self.dialect = reader.path, reader.dialect
        self.columns, self.notes = reader.columns, reader.notes

    def __iter__(self) -> Iterator[InputRow]:
        for row in delimited_rows(self.path, self.dialect):
            yield InputRow(
                row.fields,
                row.raw,
                MALFORMED if row.is_malformed else None,
                is_blank=not row.fields,
                is_exact=row.is_exact,
            )


class JsonRows(InputRows):
    """Objects of a JSON file: one per line, or as ``JsonReader`` finds them."""

    kind = JSON

    def __init__(self, path: Path, encoding: str | None, text_column: str) -> None:
        self.path, self.text_column = path, text_column
        is_lines = unpacked_suffix(path) == ".jsonl"
        self._reader = None if is_lines else JsonReader(path, encoding, strict=False)
        self.encoding = encoding or encoding_of_mark(path) or UTF_8
        self.has_lines = self._reader is None or self._reader.form == LINES
        self.notes = [] if self._reader is None else self._reader.notes
        if (
            self._reader is None
            and next((row.raw for row in self if not row.is_blank), "").lstrip()[:1] == "["
        ):
            self.notes.append(f"{path}: begins with a list; if the file is one array, name it .json")
        # all keys: a column that is added must have another name than any of them
        self.columns = tuple(dict.fromkeys(name for row in self if not row.is_blank for name in row.cells))
        if all(row.is_blank for row in islice(self, 1000)):
            raise DataError(f"{path}: the file is empty; expected one JSON object per line")

    def __iter__(self) -> Iterator[InputRow]:
        if self._reader is not None and not self.has_lines:
            for record, raw in self._reader.records(strict=False):
                yield self._row(record, raw)
            return
        with open_text(self.path, self.encoding) as file:
            for line in file:
                if not line.strip():
                    yield InputRow({}, line, is_blank=True)
                    continue
                yield self._row(_parsed(line), line)

    def _row(self, record: Any, raw: str) -> InputRow:
        if isinstance(record, dict):
            return InputRow(record, raw)
        return InputRow({self.text_column: raw.rstrip("\r\n")}, raw, MALFORMED, is_exact=False)


def _parsed(line: str) -> Any:
    """Return the line's value; ``None`` if it isn't JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class PlainRows(InputRows):
    """Lines of text, which may have a label in front."""

    kind = PLAIN

    def __init__(self, reader: LinesReader) -> None:
        self._reader = reader
        self.path, self.columns, self.notes = reader.path, reader.columns, reader.notes

    def __iter__(self) -> Iterator[InputRow]:
        for raw, line in self._reader.lines():
            yield InputRow(self._cells(raw.strip("\r\n"), line), raw)

    def _cells(self, raw: str, line: str) -> list[Any]:
        separator = self._reader.separator
        if separator is None:
            return [line]
        label, found, text = raw.partition("\t") if separator == "\t" else line.partition(" ")
        if not found or (separator != "\t" and not label.startswith(FASTTEXT)):
            return [line, None]  # a text without its label
        return [text.strip(), label.removeprefix(FASTTEXT) if separator != "\t" else label]


class TypedRows(InputRows):
    """Rows of a file whose values have types. Any reader without a class of its own here is read this way."""

    kind = TYPED

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.path, self.columns, self.notes = reader.path, tuple(reader.columns), reader.notes

    def __iter__(self) -> Iterator[InputRow]:
        return (InputRow(cells) for batch in self.batches(self.columns) for cells, _ in batch)

    def batches(self, columns: Sequence[str]) -> Iterator[list[tuple[list[Any], str | None]]]:
        """See ``InputRows.batches``; other columns aren't read."""
        for values in self.reader.batches(columns, BATCH_ROWS):
            yield [(list(row), None) for row in zip(*(values[name] for name in columns), strict=True)]


class ParquetRows(TypedRows):
    """Rows of a parquet file."""

    reader: ParquetReader

    def __iter__(self) -> Iterator[InputRow]:
        for batch in self.reader.record_batches(BATCH_ROWS):
            for cells in zip(*map(plain_values, batch.columns), strict=True):
                yield InputRow(cells)


def open_rows(
    path: Path,
    settings: DialectSettings,
    *,
    text_column: str,
    text_pair_column: str | None = None,
    label_column: str | None = None,
) -> InputRows:
    """Return the rows of a file by its suffix.

    Raises:
        DataError: the file can't be read, or has no rows.
        ConfigError: a setting of delimited files is given for another kind.
    """
    settings.check_used([path])
    if unpacked_suffix(path) in (".jsonl", ".json") and path.is_file():
        return JsonRows(path, settings.encoding, text_column)
    wanted = [name for name in (text_column, text_pair_column) if name is not None]
    try:
        reader = open_reader(path, settings, wanted=wanted, label=label_column)
    except DataError as error:
        rows = _without_broken_quotes(path, settings, wanted, label_column)
        if rows is None:
            raise
        rows.notes.append(str(error))
        return rows
    if isinstance(reader, ParquetReader):
        return ParquetRows(reader)
    if isinstance(reader, LinesReader):
        return PlainRows(reader)
    return DelimitedRows(reader) if isinstance(reader, CsvReader) else TypedRows(reader)


def _without_broken_quotes(
    path: Path, settings: DialectSettings, wanted: Sequence[str], label: str | None
) -> InputRows | None:
    """Return the rows of a file with mismatched quotes, or ``None`` if the fault is a different one."""
    if settings.quoting is not None or not path.is_file():
        return None
    try:
        reader = open_reader(path, replace(settings, quoting="quotes"), wanted=wanted, label=label)
    except DataError:
        return None
    if not isinstance(reader, CsvReader):
        return None
    rows = DelimitedRows(reader)
    return rows if any(row.fault for row in rows) else None


__all__ = ["DELIMITED", "JSON", "LABEL", "PLAIN", "TEXT", "TYPED", "InputRow", "InputRows", "open_rows"]
