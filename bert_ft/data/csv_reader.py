"""Records of csv and tsv files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bert_ft.data.text_file import check_utf8, open_text
from bert_ft.errors import DataError

_LONGEST_FIELD = 2**31 - 1  # the csv module's own limit of 128 kB is shorter than some documents


class CsvReader:
    """Delimited text with a header; every field is a string exactly as it stands in the file.

    Python's csv module and not pandas' or Arrow's: it takes no value for a number or a missing one, and
    it knows at which record a file is malformed. Empty lines are no records.

    Raises:
        DataError: on opening, the file has no header or a column twice.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path = path
        self.delimiter = delimiter
        header = next(self._records(), None)
        if header is None:
            raise DataError(f"{path}: the file is empty; a header and rows are expected")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"{path}: the header has column {twice[0]!r} twice; rename one")
        self.columns = tuple(header)

    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.columns])

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """The values of ``columns``, ``batch_size`` records at a time."""
        positions = [self.columns.index(name) for name in columns]
        records = islice(self._records(), 1, None)
        while batch := list(islice(records, batch_size)):
            yield {
                name: [record[position] for record in batch]
                for name, position in zip(columns, positions, strict=True)
            }

    def _records(self) -> Iterator[list[str]]:
        """The header, then the rows."""
        header: list[str] = []
        row = 0
        with open_text(self.path) as file, _long_fields():
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            while (record := self._next_record(reader, row)) is not None:
                if not record:
                    continue
                header = header or record
                self._check(record, header, row)
                yield record
                row += 1

    def _next_record(self, reader: Iterator[list[str]], row: int) -> list[str] | None:
        try:
            return next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{self._place(row)}: malformed: {error}; a field with quotes in it stands in quotes "
                "itself, and each of its own is doubled"
            ) from error

    def _check(self, record: list[str], header: list[str], row: int) -> None:
        if len(record) != len(header):
            raise DataError(
                f"{self._place(row)}: {len(record)} fields, but the header has {len(header)}: "
                f"{', '.join(header)}"
            )
        for name, value in zip(header, record, strict=True):
            check_utf8(value, f"{self._place(row)}, column {name!r}" if row else self._place(row))

    def _place(self, row: int) -> str:
        return f"{self.path}, {f'row {row}' if row else 'header'}"


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
