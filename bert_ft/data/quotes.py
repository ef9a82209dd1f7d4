"""Decide whether quotation marks in a file enclose fields, and find fields that swallow the rows below."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bert_ft.data.delimited import NO_QUOTES, QUOTES, Dialect, Record, long_fields, records, split_lines
from bert_ft.data.text_file import open_text
from bert_ft.errors import DataError
from bert_ft.layout import counted

_CHUNK = 1 << 20
_MOST_LABELS = 10_000  # remembered, to recognize the rows within a field
_MOST_SUSPECTS = 100


@dataclass
class _Found:
    """Findings about a file, read with quotes that enclose fields."""

    error: DataError | None = None
    num_spans: int = 0
    longest: int = 0
    longest_row: int = 0
    longest_column: str = ""
    suspects: list[tuple[int, int, list[str]]] = field(
        default_factory=list
    )  # row, lines, labels of those lines
    labels: set[str] = field(default_factory=set)


def quoting_of(path: Path, dialect: Dialect, label: str | None) -> tuple[Dialect, list[str]]:
    """Return the dialect with its quoting decided, and notes on it.

    Quotes enclose fields as in RFC 4180 if the file can be read that way. If it can't, or if a field contains
    lines that look like rows and have the labels of other rows, a quote isn't closed. Then a tab-separated
    file, as benchmarks are published, is read without quoting if each line has as many fields as the header;
    any other file is refused.

    Raises:
        DataError: a field isn't closed, with the row in which it begins.
    """
    if not _has_quotes(path, dialect):
        return dialect, []
    found = _found(path, dialect, label)
    swallowed = next((each for each in found.suspects if found.labels.issuperset(each[2])), None)
    if found.error is None and swallowed is None:
        return dialect, list(_about_spans(path, found, dialect))
    plain = replace(dialect, quoting=NO_QUOTES)
    if dialect.delimiter == "\t" and _fits(path, plain):
        return plain, [
            f"{path}: quotation marks are read as part of the texts ({dialect.prefix}quoting=none)"
        ]
    if found.error:
        raise found.error
    assert swallowed is not None
    row, num_lines, _ = swallowed
    raise DataError(
        f"{path}, row {row}: a quoted field begins here and spans {num_lines} lines, which look like rows of "
        f"their own: a quotation mark isn't closed. Correct that row, or set {dialect.prefix}quoting=none "
        f"(quotation marks are ordinary characters) or {dialect.prefix}quoting=quotes (it is one field)"
    )


def _has_quotes(path: Path, dialect: Dialect) -> bool:
    with open_text(path, dialect.encoding) as file:
        return any('"' in chunk for chunk in iter(lambda: file.read(_CHUNK), ""))


def _found(path: Path, dialect: Dialect, label: str | None) -> _Found:
    found = _Found()
    position = dialect.columns.index(label) if label in dialect.columns else None
    quoted = replace(dialect, quoting=QUOTES)
    try:
        for row, record in enumerate(records(path, quoted), 1):
            if record.num_lines == 1:
                if (
                    position is not None
                    and position < len(record.fields)
                    and len(found.labels) < _MOST_LABELS
                ):
                    found.labels.add(record.fields[position])
                continue
            _add_span(found, row, record, dialect)
            if position is not None and len(found.suspects) < _MOST_SUSPECTS:
                labels = _labels_within(record, dialect, position)
                if labels is not None:
                    found.suspects.append((row, record.num_lines, labels))
    except DataError as error:
        found.error = error
    return found


def _add_span(found: _Found, row: int, record: Record, dialect: Dialect) -> None:
    widest = max(range(len(record.fields)), key=lambda index: _num_lines(record.fields[index]))
    if _num_lines(record.fields[widest]) < 2:  # empty lines before the row, not within it
        return
    found.num_spans += 1
    if record.num_lines > found.longest:
        found.longest, found.longest_row = record.num_lines, row
        found.longest_column = dialect.columns[widest] if widest < len(dialect.columns) else ""


def _num_lines(text: str) -> int:
    return text.count("\n") + (text.count("\r") - text.count("\r\n")) + 1


def _labels_within(record: Record, dialect: Dialect, position: int) -> list[str] | None:
    """Return the labels of a record's lines where each line looks like a row, else ``None``."""
    lines = list(io.StringIO(record.raw, newline=""))
    # The first and the last hold the quotes in question; those between may have closed ones of their own.
    rows = [*_plain(lines[:1], dialect), *_plain(lines[-1:], dialect)]
    with long_fields():
        for line in lines[1:-1]:
            rows += split_lines([line], dialect.delimiter, QUOTES)
    width = len(dialect.columns)
    if width < 2 or any(len(row) != width for row in rows):
        return None
    return [row[position] for row in rows]


def _plain(lines: list[str], dialect: Dialect) -> Iterator[list[str]]:
    with long_fields():
        yield from split_lines(lines, dialect.delimiter, NO_QUOTES)


def _fits(path: Path, plain: Dialect) -> bool:
    """Return whether each line has as many fields as there are columns, and the header has no quotes."""
    lines = records(path, replace(plain, has_header=False))
    if plain.has_header and any('"' in name for name in next(lines).fields):
        return False
    return all(len(line.fields) == len(plain.columns) for line in lines)


def _about_spans(path: Path, found: _Found, dialect: Dialect) -> Iterator[str]:
    if found.num_spans:
        yield (
            f"{path}: {counted(found.num_spans, 'row')} {'has' if found.num_spans == 1 else 'have'} a field that spans "
            f"several lines; the longest has {found.longest} lines (row {found.longest_row}, column "
            f"{found.longest_column!r}). If a quotation mark is missing there, set {dialect.prefix}quoting=none"
        )
