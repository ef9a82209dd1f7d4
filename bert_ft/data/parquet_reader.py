"""Records of parquet files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bert_ft.data.text_file import PACKED, open_bytes
from bert_ft.errors import DataError


class ParquetReader:
    """A parquet file, read a few rows at a time.

    Raises:
        DataError: on opening: the file isn't parquet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        try:
            with self._open() as file:
                self._schema = file.schema_arrow
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: not a parquet file: {error}") from error
        self.columns = tuple(self._schema.names)

    def schema(self) -> pa.Schema:
        """Return the file's types; a categorical type is replaced by the type of its categories."""
        return pa.schema([(field.name, _decoded(field.type)) for field in self._schema])

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """Yield the values of ``columns``, ``batch_size`` rows at a time."""
        for name in columns:
            if self.columns.count(name) > 1:
                raise DataError(f"{self.path}: has column {name!r} twice; rename one")
        with self._open() as file:
            for batch in file.iter_batches(batch_size, columns=list(columns)):
                yield {name: _texts(plain_values(batch[name])) for name in columns}

    def record_batches(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield all columns in the file's own types, ``batch_size`` rows at a time."""
        with self._open() as file:
            yield from file.iter_batches(batch_size)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The file's own types and metadata."""
        return self._schema

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        if self.path.suffix.lower() not in PACKED:
            with pq.ParquetFile(self.path) as file:
                yield file
            return
        with TemporaryFile() as unpacked:  # parquet is read from its end
            with open_bytes(self.path) as packed:
                shutil.copyfileobj(packed, unpacked)
            unpacked.seek(0)
            with pq.ParquetFile(unpacked) as file:
                yield file


def plain_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column's values in Python; 16- and 32-bit floats keep their shortest form (0.1, not 0.10000000149)."""
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):  # a time that Python has no value for, or a zone of unknown name
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp(column.type.unit))
        return column.cast(pa.string()).to_pylist()
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        narrow = np.float32 if pa.types.is_float32(column.type) else np.float16
        return [value if value is None else float(str(narrow(value))) for value in values]
    return values


def _texts(values: list[Any]) -> list[Any]:
    """Return the values, with UTF-8 bytes decoded: some writers omit the annotation for strings."""
    return [_text(value) if isinstance(value, bytes) else value for value in values]


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
