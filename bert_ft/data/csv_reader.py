"""Records of csv and tsv files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bert_ft.data.delimited import Dialect, Record, records
from bert_ft.data.dialect import DialectSettings, detect
from bert_ft.data.text_file import check_text
from bert_ft.errors import DataError


class CsvReader:
    """Delimited text; every field is a string exactly as it is in the file. Columns that aren't read aren't checked.

    Python's csv module is used, not pandas' or Arrow's: it interprets no value as a number or as missing, and
    knows which record is malformed. Empty lines are skipped.

    Args:
        path: the file.
        delimiter: the default for its suffix.
        settings: dialect settings of the user.
        wanted: names of the columns to read; if empty, all.
        label: name of the label column.

    Raises:
        DataError: on opening: the file has no header or has a wanted column twice, or a quote isn't closed.
    """

    def __init__(
        self,
        path: Path,
        delimiter: str,
        settings: DialectSettings | None = None,
        wanted: Sequence[str] = (),
        label: str | None = None,
    ) -> None:
        self.path = path
        self.dialect: Dialect = detect(path, settings, default=delimiter, wanted=wanted, label=label)
        self.columns = self.dialect.columns
        self.notes = list(self.dialect.notes)
        is_complete = bool(wanted) and set(wanted) <= set(self.columns)
        for name in wanted if is_complete else self.columns:
            check_text(name, f"{path}, header", self.dialect.encoding)
            if self.columns.count(name) > 1 and (is_complete or not wanted):
                raise DataError(f"{path}: the header has column {name!r} twice; rename one")

    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.columns])

    def records(self) -> Iterator[Record]:
        """Yield each row with its exact characters in the file, for copying rows.

        Raises:
            DataError: a row has more or fewer fields than there are columns.
        """
        width = len(self.columns)
        for row, record in enumerate(records(self.path, self.dialect), 1):
            surplus = record.fields[width:]
            if len(record.fields) < width or any(surplus):  # a spreadsheet may end its rows with empty fields
                raise DataError(
                    f"{self.path}, row {row}: {len(record.fields)} fields, but the header has {width}: "
                    f"{', '.join(self.columns)}{self._remedy(record)}"
                )
            yield record

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """Yield the values of ``columns``, ``batch_size`` records at a time."""
        positions = [self.columns.index(name) for name in columns]
        rows = self.records()
        first_row = 1
        while batch := list(islice(rows, batch_size)):
            values = {
                name: [record.fields[position] for record in batch]
                for name, position in zip(columns, positions, strict=True)
            }
            self._check(values, first_row)
            first_row += len(batch)
            yield values

    def _check(self, values: dict[str, list[str]], first_row: int) -> None:
        """Raise ``DataError`` at the first byte that isn't valid in the encoding."""
        for row, texts in enumerate(zip(*values.values(), strict=True), first_row):
            for name, text in zip(values, texts, strict=True):
                if not text.isascii():
                    check_text(text, f"{self.path}, row {row}, column {name!r}", self.dialect.encoding)

    def _remedy(self, record: Record) -> str:
        if len(record.fields) < len(self.columns):
            return ""
        return f"; put a text with {self.dialect.delimiter!r} in it between quotation marks"
