"""Write a file's rows with added columns; unread columns are copied unchanged if the format stays the same."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from bert_ft.atomic_file import put_in_place, replaced, temporary_file
from bert_ft.data.delimited import Dialect, preamble
from bert_ft.data.text_file import PACKED, UTF_8, mark_of, unpacked_suffix
from bert_ft.errors import DataError
from bert_ft.inference.delimited_rows import field_of
from bert_ft.inference.input_rows import BATCH_ROWS, DelimitedRows, InputRow, InputRows, JsonRows, ParquetRows
from bert_ft.inference.values import field_text, json_text, members, valid_text

Added = Mapping[str, pa.Array]
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_TYPES = {
    frozenset(): pa.null(),
    frozenset({str}): pa.string(),
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
}
# Python's json reads these; strings are matched as well, so that what is inside them stays.
_BETWEEN_LINES = re.compile(r"[ \t]*[\r\n][ \t\r\n]*")
_NOT_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity')
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def write_output(rows: InputRows, added: Added, target: Path) -> None:
    """Write the rows and the added columns (one value per row) in the format of ``target``, which appears when complete.

    Raises:
        DataError: a value can't be written in the file's encoding or without quotes.
    """
    final = target.resolve()  # what a link leads to is written, the link stays
    try:
        with temporary_file(final.parent) as unfinished:
            _writer(unpacked_suffix(target))(rows, added, unfinished)
            if target.suffix.lower() in PACKED:
                with replaced(final) as packed:
                    _pack(unfinished, packed, target)
            else:
                put_in_place(unfinished, final)
    except UnicodeEncodeError as error:
        encoding = rows.dialect.encoding if isinstance(rows, DelimitedRows) else error.encoding
        raise DataError(
            f"output={target}: {error.object[error.start]!r} can't be written in the input's encoding "
            f"{encoding}, which an output of the same kind keeps; give an output that ends in .jsonl"
        ) from error


def _writer(suffix: str) -> Callable[[InputRows, Added, Path], None]:
    if suffix in DELIMITERS:
        return lambda rows, added, path: _write_delimited(rows, added, path, suffix)
    if suffix == ".parquet":
        return _write_parquet
    return lambda rows, added, path: _write_json(rows, added, path, suffix)


def _write_delimited(rows: InputRows, added: Added, path: Path, suffix: str) -> None:
    if isinstance(rows, DelimitedRows) and _keeps(rows, suffix):
        _copy_delimited(rows, added, path)
        return
    # a line end of two characters: else a lone carriage return within a text would go without quotes
    dialect = Dialect(DELIMITERS[suffix], UTF_8, "quotes", rows.columns, prefix="")
    with _text(path, b"", UTF_8) as file:
        file.write(_line([*map(valid_text, rows.columns), *added], dialect))
        for row, values in _beside(rows, added):
            file.write(_line([*_cells(rows, row), *map(field_text, values)], dialect))


def _keeps(rows: DelimitedRows, suffix: str) -> bool:
    """Return whether the output keeps the input's dialect: same kind by suffix, or same delimiter."""
    return unpacked_suffix(rows.path) == suffix or rows.dialect.delimiter == DELIMITERS[suffix]


def _copy_delimited(rows: DelimitedRows, added: Added, path: Path) -> None:
    dialect = rows.dialect
    mark, codec = mark_of(rows.path)
    head = preamble(rows.path, dialect)
    first = next(iter(rows), InputRow([]))
    end = _line_end(head) or _line_end(first.raw) or "\n"

    def beside(text: str, values: Sequence[Any]) -> str:
        body = text.rstrip("\r\n")
        fields = [field_of(field_text(value), dialect) for value in values]
        return dialect.delimiter.join([body, *fields]) + (_line_end(text) or end)

    with _text(path, mark, codec or dialect.encoding) as file:
        file.write(beside(head, list(added)) if dialect.has_header else head)
        values = _values(added)
        for row in rows:
            if row.is_blank:
                file.write(row.raw)
            elif row.is_exact:
                file.write(beside(row.raw, next(values)))
            else:
                cells = dialect.delimiter.join(field_of(cell, dialect) for cell in row.cells)
                file.write(beside(cells + _line_end(row.raw), next(values)))


def _line_end(text: str) -> str:
    return text[len(text.rstrip("\r\n")) :]


def _line(values: Sequence[str], dialect: Dialect) -> str:
    return dialect.delimiter.join(field_of(value, dialect) for value in values) + "\r\n"


def _cells(rows: InputRows, row: InputRow) -> list[str]:
    """Return the fields of a row for a different format; numbers and nested values of JSON keep their spelling."""
    if not isinstance(row.cells, Mapping):
        return [field_text(cell) for cell in row.cells]
    written = {} if row.fault else members(row.raw)
    cells = []
    for name in rows.columns:
        value = row.cells.get(name)
        cells.append(value if isinstance(value, str) or value is None else written.get(name, ""))
    return ["" if cell is None else valid_text(cell) for cell in cells]


def _write_json(rows: InputRows, added: Added, path: Path, suffix: str) -> None:
    mark, encoding, is_array = b"", UTF_8, suffix == ".json"
    if isinstance(rows, JsonRows) and unpacked_suffix(rows.path) == suffix:  # it stays as the input is
        mark, codec = mark_of(rows.path)
        encoding, is_array = codec or rows.encoding, is_array and not rows.has_lines
    names = unique_names(rows.columns)
    copies = isinstance(rows, JsonRows)
    with _text(path, mark, encoding) as file:
        file.write("[\n" if is_array else "")
        values = _values(added)
        separator = ""
        for row in rows:
            if row.is_blank:
                file.write("" if is_array else row.raw)
                continue
            new = dict(zip(added, next(values), strict=True))
            if copies and row.is_exact:
                text, end = _with_members(row.raw, new)
            else:
                cells = row.cells if isinstance(row.cells, Mapping) else zip(names, row.cells, strict=True)
                text, end = json_text({**dict(cells), **new}), _line_end(row.raw) if copies else ""
            file.write(f"{separator}{text}" if is_array else f"{text}{end or chr(10)}")
            separator = ",\n"
        file.write("\n]\n" if is_array else "")


def _with_members(raw: str, added: Mapping[str, Any]) -> tuple[str, str]:
    """Return the object as written, with members added on the same line, and its line end; NaN and infinities are null."""
    text = _NOT_JSON.sub(lambda found: found[0] if found[0].startswith('"') else "null", raw.strip(" \t\r\n"))
    if "\n" in text or "\r" in text:  # between its members: a text of JSON has none
        text = _BETWEEN_LINES.sub(" ", text)  # not str.splitlines, which also splits at U+2028 within a text
    body = text.removesuffix("}").rstrip(" \t")
    new = json_text(added).removeprefix("{")
    return (f"{body}{new}" if body.endswith("{") else f"{body}, {new}"), _line_end(raw)


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names made unique, for a format in which the last of equal names would hide the others."""
    found: list[str] = []
    for name in names:
        number, new = 1, (name := valid_text(name))
        while new in found:
            number += 1
            new = f"{name}_{number}"
        found.append(new)
    return found


def _write_parquet(rows: InputRows, added: Added, path: Path) -> None:
    tables = _own_tables(rows) if isinstance(rows, ParquetRows) else _made_tables(rows)
    start = 0
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            for name, values in added.items():
                table = table.append_column(name, values.slice(start, len(table)))
            start += len(table)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _own_tables(rows: ParquetRows) -> Iterator[pa.Table]:
    for batch in rows.reader.record_batches(BATCH_ROWS * 10):
        yield pa.Table.from_batches([batch]).replace_schema_metadata(rows.reader.arrow_schema.metadata)


def _made_tables(rows: InputRows) -> Iterator[pa.Table]:
    """Yield tables of texts; JSON values keep their types, or are written as JSON if types are mixed."""
    types = _json_types(rows) if isinstance(rows, JsonRows) else {}
    names = unique_names(rows.columns)
    real = (row for row in rows if not row.is_blank)
    while batch := list(islice(real, BATCH_ROWS)):
        columns = []
        for column, name in enumerate(rows.columns):
            if types:
                values = [row.cells.get(name) for row in batch]  # type: ignore[union-attr]
                columns.append(_typed(values, types[name]))
            else:
                texts = [row.cells[column] for row in batch]  # type: ignore[index]
                columns.append(pa.array([None if t is None else valid_text(t) for t in texts], pa.string()))
        yield pa.table(columns, names=names)


def _json_types(rows: JsonRows) -> dict[str, pa.DataType | None]:
    """Return column → type; ``None`` for values of several types, or nested ones, which are written as JSON."""
    kinds: dict[str, set[type]] = {name: set() for name in rows.columns}
    for row in rows:
        for name, value in row.cells.items():  # type: ignore[union-attr]
            if value is not None:
                kinds[name].add(_kind(value))
    return {name: _TYPES.get(frozenset(found)) for name, found in kinds.items()}


def _kind(value: Any) -> type:
    """Return the value's type; ``object`` for an integer that doesn't fit into an integer column."""
    return object if type(value) is int and abs(value) >= 2**63 else type(value)


def _typed(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    if kind is None:
        return pa.array(
            [None if value is None or value != value else json_text(value) for value in values], pa.string()
        )
    if kind == pa.string():
        values = [None if value is None else valid_text(value) for value in values]
    return pa.array(values, kind)


def _beside(rows: InputRows, added: Added) -> Iterator[tuple[InputRow, Sequence[Any]]]:
    real = (row for row in rows if not row.is_blank)
    yield from zip(real, _values(added), strict=True)


def _values(added: Added) -> Iterator[tuple[Any, ...]]:
    yield from zip(*(column.to_pylist() for column in added.values()), strict=True)


@contextmanager
def _text(path: Path, mark: bytes, encoding: str) -> Iterator[TextIO]:
    with path.open("wb") as binary:
        binary.write(mark)
        # bytes that couldn't be decoded are written back as they were
        with io.TextIOWrapper(binary, encoding=encoding, errors="surrogateescape", newline="") as file:
            yield file


def _pack(source: Path, packed: Path, target: Path) -> None:
    with source.open("rb") as content, packed.open("wb") as file:
        kind = target.suffix.lower()
        if kind == ".zip":
            with (
                zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open(target.stem, "w") as member,
            ):
                shutil.copyfileobj(content, member)
            return
        into: Any
        if kind == ".gz":
            into = gzip.GzipFile(target.stem, "wb", fileobj=file)
        else:
            into = pa.CompressedOutputStream(file, "zstd")
        with into:
            shutil.copyfileobj(content, into)


__all__ = ["SUFFIXES", "unique_names", "write_output"]
