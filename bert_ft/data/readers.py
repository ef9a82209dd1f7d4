"""The reader for a file, by its suffix and its first line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from bert_ft.data.csv_reader import CsvReader
from bert_ft.data.dialect import DialectSettings, header_of
from bert_ft.data.json_reader import JsonReader
from bert_ft.data.lines_reader import LABEL, TEXT, LinesReader
from bert_ft.data.parquet_reader import ParquetReader
from bert_ft.data.text_file import PACKED, check_is_file, unpacked_suffix
from bert_ft.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".txt", ".json")
_EXCEL_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


class Reader(Protocol):
    """Records of a file as Python values, a batch at a time, so that memory doesn't grow with the file.

    Attributes:
        path: the file.
        columns: its columns; for JSON the keys of the first rows, later rows may have others.
        notes: sentences on how it was read, where a user might not expect it.
    """

    path: Path
    columns: tuple[str, ...]
    notes: list[str]

    def schema(self) -> pa.Schema: ...

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]: ...


def open_reader(
    path: Path | str,
    settings: DialectSettings | None = None,
    *,
    wanted: Sequence[str] = (),
    label: str | None = None,
) -> Reader:
    """Return the reader for the suffix of ``path``.

    Args:
        path: the file; its suffix may be followed by one of ``PACKED``.
        settings: settings for csv, tsv and txt files; the encoding also applies to JSON.
        wanted: names of the columns to read; they serve to detect the delimiter.
        label: name of the label column.

    Raises:
        DataError: there is no such file, its suffix is unknown, or it is empty.
    """
    path = Path(path).expanduser()
    check_is_file(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give a file (a data set folder is read by data=hub)")
    settings = settings or DialectSettings()
    suffix = unpacked_suffix(path)
    if suffix not in SUFFIXES:
        allowed = f"{', '.join(SUFFIXES)}, each optionally followed by {', '.join(PACKED)}"
        advice = "save the sheet as csv; " if suffix in _EXCEL_SUFFIXES else ""
        if not suffix and path.suffix:  # data.zip
            advice = f"add the suffix of the file inside, e.g. {path.stem}.csv{path.suffix}; "
        raise DataError(f"{path}: unknown suffix {suffix!r}; {advice}choose one of {allowed}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    if suffix == ".parquet":
        return ParquetReader(path)
    if suffix in (".json", ".jsonl"):
        return JsonReader(path, settings.encoding, lines_only=suffix == ".jsonl")
    if suffix == ".txt" and not settings.describes_table and not _is_table(path, settings, wanted, label):
        return LinesReader(path, settings.encoding)
    return CsvReader(path, "," if suffix == ".csv" else "\t", settings, wanted, label)


def _is_table(path: Path, settings: DialectSettings, wanted: Sequence[str], label: str | None) -> bool:
    """Return whether the first line of a text file names all wanted columns, and two or more with the label."""
    names = set(header_of(path, settings, default="\t", wanted=wanted))
    return set(wanted) <= names and len(names.intersection({*wanted, label})) > 1


def has_only_texts(reader: Reader) -> bool:
    """Return whether the file has plain lines, whose columns are named by us."""
    return isinstance(reader, LinesReader)


def missing_column_hint(reader: Reader, wanted: Sequence[str]) -> str:
    """Return what to do if a wanted column is missing, as the end of a sentence; empty if nothing is known."""
    if not isinstance(reader, CsvReader) or not reader.dialect.has_header:
        return ""
    names, prefix = reader.columns, reader.dialect.prefix
    if not set(wanted) & set(names) and any(" " in name.strip() or _is_number(name) for name in names):
        guess = ["text", "label"] if len(names) == 2 and len(names[0]) >= len(names[1]) else ["label", "text"]
        example = ",".join(guess) if len(names) == 2 else "<one name per column>"
        return f". Does the file have no header? Then name its columns: {prefix}columns=[{example}]"
    if len(names) == 1:
        return f". Does it use another delimiter? Set {prefix}delimiter"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


__all__ = ["LABEL", "SUFFIXES", "TEXT", "Reader", "has_only_texts", "missing_column_hint", "open_reader"]
