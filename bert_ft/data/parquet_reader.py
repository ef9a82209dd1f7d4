"""Records of parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bert_ft.errors import DataError


class ParquetReader:
    """A parquet file, read a few rows at a time.

    Raises:
        DataError: on opening, the file isn't parquet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self._schema = file.schema_arrow
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: not a parquet file: {error}") from error
        self.columns = tuple(self._schema.names)

    def schema(self) -> pa.Schema:
        """The file's types, with those of the categories in place of categorical ones."""
        return pa.schema([(field.name, _decoded(field.type)) for field in self._schema])

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """The values of ``columns``, ``batch_size`` rows at a time."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size, columns=list(columns)):
                yield batch.to_pydict()


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
