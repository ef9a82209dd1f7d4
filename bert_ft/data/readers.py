"""The reader for a file, by its suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from bert_ft.data.csv_reader import CsvReader
from bert_ft.data.json_reader import JsonLinesReader
from bert_ft.data.lines_reader import LinesReader
from bert_ft.data.parquet_reader import ParquetReader
from bert_ft.errors import DataError


class Reader(Protocol):
    """Records of a file as Python values, a batch at a time, so that memory doesn't grow with the file."""

    path: Path
    columns: tuple[str, ...]

    def schema(self) -> pa.Schema: ...

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]: ...


READERS: dict[str, Callable[[Path], Reader]] = {
    ".csv": lambda path: CsvReader(path, ","),
    ".tsv": lambda path: CsvReader(path, "\t"),
    ".jsonl": JsonLinesReader,
    ".parquet": ParquetReader,
    ".txt": LinesReader,
}
_PACKED = (".csv.gz", ".tsv.gz", ".jsonl.gz", ".txt.gz")


def open_reader(path: Path | str) -> Reader:
    """The reader that ``path``'s suffix asks for.

    Raises:
        DataError: there is no such file, its suffix is unknown, or it is empty.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give a file (a data set folder is read by data=hub)")
    if not path.exists():
        raise DataError(f"{path}: no such file")
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz") if name.endswith(_PACKED) else name).suffix
    if suffix not in READERS:
        allowed = ", ".join([*READERS, *_PACKED])
        raise DataError(f"{path}: unknown suffix {suffix!r}; choose one of {allowed}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    return READERS[suffix](path)
