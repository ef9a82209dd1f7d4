"""Records of JSON files: one object per line, one array of objects, or a table under one key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from bert_ft.data.text_file import UTF_8, check_text, encoding_of_mark, open_text
from bert_ft.errors import DataError

_CHUNK = 1 << 16
_SPACE = " \t\r\n"
_SAMPLE_ROWS = 100  # whose keys are the columns
LINES, ARRAY, TABLE = "lines", "array", "table"


class JsonReader:
    """Objects with named values; a key that a row lacks gives ``None``. Empty lines are skipped.

    Three forms are recognized from the start of the file: one object per line, one array of objects, and
    one object that has the rows under a key (``{"data": [...]}``) or by columns (``{"text": [...], "label": [...]}``).

    Args:
        path: the file.
        encoding: ``None`` = the encoding of the file's byte order mark, else UTF-8.
        lines_only: always read one object per line.
        strict: on opening, read the first records; without it there are no ``columns``.

    Raises:
        DataError: on opening: the file has no records, or the first one can't be read.
    """

    columns: tuple[str, ...] = ()

    def __init__(
        self, path: Path, encoding: str | None = None, *, lines_only: bool = False, strict: bool = True
    ) -> None:
        self.path = path
        self.encoding = encoding or encoding_of_mark(path) or UTF_8
        self.notes: list[str] = []
        self.form = LINES if lines_only else self._form()
        if self.encoding.lower() != UTF_8:
            self.notes.append(f"{path}: read as {self.encoding}")
        if not strict:
            return
        first = [record for record, _ in islice(self.records(), _SAMPLE_ROWS)]
        if not first:
            raise DataError(f"{path}: the file is empty; expected one JSON object per line")
        self.columns = tuple(dict.fromkeys(chain.from_iterable(first)))

    def schema(self) -> pa.Schema:
        """Return the types of all keys; this reads the whole file.

        Raises:
            DataError: a key holds values of several types.
        """
        merged = pa.schema([])
        rows = (record for record, _ in self.records())
        while batch := list(islice(rows, 1000)):
            names = list(dict.fromkeys(name for record in batch for name in record))
            try:
                found = pa.schema([(name, _arrow_type(batch, name)) for name in names])
                merged = pa.unify_schemas([merged, found], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise DataError(f"{self.path}: a column holds values of several types: {error}") from error
        return merged

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """Yield the values of ``columns``, ``batch_size`` records at a time; an absent key gives ``None``."""
        rows = self.records()
        row = 1
        while batch := list(islice(rows, batch_size)):
            for record, _ in batch:
                self._check(record, columns, row)
                row += 1
            yield {name: [record.get(name) for record, _ in batch] for name in columns}

    def records(self, *, strict: bool = True) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield each row and its exact characters in the file, for copying rows.

        Rows of a table by columns have none in the file, so they are serialized. If not ``strict``, a row may be any value.
        """
        with open_text(self.path, self.encoding) as file:
            if self.form == LINES:
                values = self._lines(file)
            else:
                values = self._elements(file) if self.form == ARRAY else self._table(file)
            for row, (record, raw) in enumerate(values, 1):
                if strict and not isinstance(record, dict):
                    is_array = row == 1 and self.form == LINES and isinstance(record, list)
                    raise DataError(
                        f"{self.path}, row {row}: {type(record).__name__} instead of an object with named values"
                        f"{'; if the file is one array, name it .json' if is_array else ''}"
                    )
                yield record, raw

    def _form(self) -> str:
        with open_text(self.path, self.encoding) as file:
            lines = (line for line in file if line.strip())
            first, second = next(lines, ""), next(lines, None)
            if first.lstrip().startswith("["):
                return ARRAY
            try:
                value = json.loads(first)
            except ValueError:
                # one object over several lines, or one line that is damaged
                return TABLE if second is not None and first.strip() == "{" else _form_of_open(first, second)
            return (
                TABLE if second is None and isinstance(value, dict) and _rows_of(value) is not None else LINES
            )

    def _lines(self, file: TextIO) -> Iterator[tuple[Any, str]]:
        row = 0
        for line in file:
            if line.strip():
                row += 1
                yield self._parsed(line, row), line

    def _parsed(self, line: str, row: int) -> Any:
        try:
            return json.loads(line)
        except ValueError as error:
            place = f"{self.path}, row {row}"
            check_text(line, place, self.encoding)
            raise DataError(f"{place}: not valid JSON: {error}; expected one object per line") from error

    def _elements(self, file: TextIO) -> Iterator[tuple[Any, str]]:
        """Yield the values of an array, decoded one by one, so that memory holds one value and a chunk of the file."""
        decoder = json.JSONDecoder()
        text, row, size = file.read(_CHUNK).lstrip(_SPACE)[1:], 1, _CHUNK
        is_first = True
        while True:
            text = text.lstrip(_SPACE)
            if text.startswith("]"):
                if (text[1:] + file.read(_CHUNK)).strip(_SPACE):
                    raise DataError(
                        f"{self.path}: more content follows the end of the array (row {row - 1}); one array is expected"
                    )
                return
            start = 0 if is_first or not text.startswith(",") else 1
            body = text[start:].lstrip(_SPACE)
            try:
                if not is_first and start == 0:
                    raise ValueError("a comma is expected between two rows")
                value, end = decoder.raw_decode(body)
                if end == len(body):  # a number may continue in the next chunk
                    raise ValueError("the array isn't closed")
            except ValueError as error:
                more = file.read(size)
                size *= 2
                if not more:
                    place = f"{self.path}, row {row}"
                    check_text(body, place, self.encoding)
                    raise DataError(
                        f"{place}: not valid JSON: {error}; an array of objects is expected"
                    ) from error
                text += more
                continue
            yield value, body[:end]
            text, row, size, is_first = body[end:], row + 1, _CHUNK, False

    def _table(self, file: TextIO) -> Iterator[tuple[Any, str]]:
        content = file.read()
        try:
            value = json.loads(content)
        except ValueError:
            yield from self._concatenated(content)
            return
        rows = _rows_of(value)
        for record in [value] if rows is None else rows:
            yield record, json.dumps(record, ensure_ascii=False)

    def _concatenated(self, content: str) -> Iterator[tuple[Any, str]]:
        """Yield objects that follow each other, each on any number of lines."""
        decoder, position, row = json.JSONDecoder(), 0, 1
        while content[position:].strip(_SPACE):
            position += len(content[position:]) - len(content[position:].lstrip(_SPACE))
            try:
                value, end = decoder.raw_decode(content, position)
            except ValueError as error:
                place = f"{self.path}, row {row}"
                check_text(content, place, self.encoding)
                raise DataError(f"{place}: not valid JSON: {error}; expected one object per line") from error
            yield value, content[position:end]
            position, row = end, row + 1

    def _check(self, record: dict[str, Any], columns: Sequence[str], row: int) -> None:
        """Raise ``DataError`` at invalid bytes and unpaired surrogates in the values that are read."""
        for name in columns:
            value = record.get(name)
            if not isinstance(value, str) or value.isascii():
                continue
            place = f"{self.path}, row {row}"
            try:
                value.encode()
            except UnicodeEncodeError as error:
                half = ord(value[error.start])
                if 0xDC80 <= half <= 0xDCFF:
                    check_text(value, place, self.encoding)
                raise DataError(
                    f"{place}: \\u{half:04x} is an unpaired surrogate (half a character); write the full character"
                ) from None


def _form_of_open(first: str, second: str | None) -> str:
    """Return the form of a file whose first line isn't complete JSON.

    It is one object that continues on the next lines, or JSON Lines whose first line is damaged.
    """
    return (
        TABLE
        if second is not None and not first.rstrip().endswith("}") and first.lstrip().startswith("{")
        else LINES
    )


def _rows_of(value: Any) -> list[Any] | None:
    """Return the rows of an object that holds a table, else ``None``."""
    if not isinstance(value, dict) or not value:
        return None
    if "text" not in value or not isinstance(
        value["text"], str
    ):  # one row, which may have lists in other keys
        tables = [
            rows for rows in value.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)
        ]
        if len(tables) == 1:
            return tables[0]
    columns = list(value.values())
    if all(isinstance(column, dict) for column in columns):  # as pandas writes it: {"text": {"0": …}}
        keys = list(dict.fromkeys(chain.from_iterable(columns)))
        return [{name: column.get(key) for name, column in value.items()} for key in keys] or None
    if all(isinstance(column, list) for column in columns) and len({len(column) for column in columns}) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def _arrow_type(records: list[dict[str, Any]], name: str) -> pa.DataType:
    return pa.array([record.get(name) for record in records]).type
