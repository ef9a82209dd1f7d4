"""Rows of a delimited file exactly as written; a malformed row does not affect the others."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bert_ft.data.delimited import NO_QUOTES, Dialect, long_fields, split_lines
from bert_ft.data.text_file import open_text
from bert_ft.errors import DataError


@dataclass(frozen=True)
class DelimitedRow:
    """One row.

    Attributes:
        fields: one field per column; none for an empty line.
        raw: its exact characters in the file, with the line end.
        is_malformed: whether its quotes or the number of its fields are wrong.
        is_exact: whether ``raw`` has as many fields as there are columns.
    """

    fields: list[str]
    raw: str
    is_malformed: bool = False
    is_exact: bool = True


def delimited_rows(path: Path, dialect: Dialect) -> Iterator[DelimitedRow]:
    """Yield the rows below the header in order, including empty lines.

    If the quotes of a row don't match, only its first line counts as malformed; the next lines are read separately.
    """
    with open_text(path, dialect.encoding) as file, long_fields():
        lines = _Lines(islice(file, dialect.num_skipped, None))
        is_header = dialect.has_header
        rows = split_lines(lines, dialect.delimiter, dialect.quoting, strict=True)
        while True:
            try:
                fields = next(rows, None)
            except csv.Error:
                first, *others = lines.taken()
                lines.put_back(others)
                rows = split_lines(lines, dialect.delimiter, dialect.quoting, strict=True)
                # its quotes as characters, so that none is lost
                (fields,) = split_lines([first.rstrip("\r\n")], dialect.delimiter, NO_QUOTES)
                yield _fitted(fields, first, dialect, is_malformed=True)
                continue
            raw = "".join(lines.taken())
            if fields is None:
                return
            if not fields:
                if not is_header:
                    yield DelimitedRow([], raw)
            elif is_header:
                is_header = False
            else:
                yield _fitted(fields, raw, dialect)


def _fitted(fields: list[str], raw: str, dialect: Dialect, *, is_malformed: bool = False) -> DelimitedRow:
    """Return the row with one field per column: missing fields are empty, extra ones are joined to the last."""
    width = len(dialect.columns)
    if len(fields) == width:
        return DelimitedRow(fields, raw, is_malformed, is_exact=not is_malformed)
    surplus = fields[width:]
    if surplus and not any(surplus):  # a spreadsheet may end its rows with empty fields
        return DelimitedRow(fields[:width], raw, is_malformed, is_exact=False)
    last = [dialect.delimiter.join(fields[width - 1 :])] if surplus else []
    fields = fields[: width - 1] + last if last else fields + [""] * (width - len(fields))
    return DelimitedRow(fields, raw, is_malformed=True, is_exact=False)


class _Lines:
    """An iterator over lines that remembers which lines were read since the last call, and can take lines back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._returned: list[str] = []  # the next one last
        self._taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._returned.pop() if self._returned else next(self._lines)
        self._taken.append(line)
        return line

    def taken(self) -> list[str]:
        taken, self._taken = self._taken, []
        return taken

    def put_back(self, lines: list[str]) -> None:
        self._returned.extend(reversed(lines))


def field_of(text: str, dialect: Dialect) -> str:
    """Return a value as a field of the dialect.

    Raises:
        DataError: without quotation marks it would be several fields.
    """
    if not any(character in text for character in (dialect.delimiter, '"', "\r", "\n")):
        return text
    if dialect.quoting != NO_QUOTES:
        return '"{}"'.format(text.replace('"', '""'))
    if any(character in text for character in (dialect.delimiter, "\r", "\n")):
        raise DataError(
            f"{dialect.prefix}quoting=none: {text!r} can't be a field; give an output that ends in .jsonl or .parquet"
        )
    return text
