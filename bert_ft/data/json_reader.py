"""Records of JSON lines files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bert_ft.data.text_file import check_utf8, open_text
from bert_ft.errors import DataError


class JsonLinesReader:
    """One JSON object a line; its columns are the keys of the first. Empty lines are no records.

    Raises:
        DataError: on opening, the file has no records or the first can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(self._records(), None)
        if first is None:
            raise DataError(f"{path}: the file is empty; one JSON object a line is expected")
        self.columns = tuple(first)

    def schema(self) -> pa.Schema:
        """The types of all keys, for which the whole file is read once.

        Raises:
            DataError: a key holds values of several types.
        """
        merged = pa.schema([])
        records = self._records()
        while batch := list(islice(records, 1000)):
            names = list(dict.fromkeys(name for record in batch for name in record))
            try:
                found = pa.schema([(name, _arrow_type(batch, name)) for name in names])
                merged = pa.unify_schemas([merged, found], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise DataError(f"{self.path}: a column holds values of several types: {error}") from error
        return merged

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """The values of ``columns``, ``batch_size`` records at a time; an absent key gives ``None``."""
        records = self._records()
        while batch := list(islice(records, batch_size)):
            yield {name: [record.get(name) for record in batch] for name in columns}

    def _records(self) -> Iterator[dict[str, Any]]:
        row = 0
        with open_text(self.path) as file:
            for line in file:
                if line.strip():
                    row += 1
                    yield self._parsed(line, row)

    def _parsed(self, line: str, row: int) -> dict[str, Any]:
        place = f"{self.path}, row {row}"
        check_utf8(line, place)
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place}: not valid JSON: {error}; one object a line is expected") from error
        if not isinstance(record, dict):
            raise DataError(f"{place}: {type(record).__name__} instead of an object with named values")
        if "\\u" in line:
            _check_escapes(record, place)
        return record


def _arrow_type(records: list[dict[str, Any]], name: str) -> pa.DataType:
    return pa.array([record.get(name) for record in records]).type


def _check_escapes(record: dict[str, Any], place: str) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise DataError(f"{place}: \\u{half:04x} is half a character; write the whole one") from None
