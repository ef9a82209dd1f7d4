"""Rows of a delimited file whose dialect is known, each with its exact characters in the file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from bert_ft.data.text_file import open_text
from bert_ft.errors import DataError

QUOTES, NO_QUOTES = "quotes", "none"
_LONGEST_FIELD = 2**31 - 1  # the csv module's own limit of 128 kB is shorter than some documents


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written.

    Attributes:
        delimiter: one character.
        encoding: Python's name of the encoding; a byte order mark isn't part of the text.
        quoting: ``QUOTES`` or ``NO_QUOTES``.
        columns: names of all columns, in the file's order; some may be equal.
        num_skipped: physical lines before the first row that aren't rows (Excel's ``sep=;``).
        has_header: whether the first row names the columns.
        notes: sentences for the data report on decisions that a user might not expect.
        prefix: prefix of the keys that set it, for messages.
    """

    delimiter: str
    encoding: str
    quoting: str
    columns: tuple[str, ...]
    num_skipped: int = 0
    has_header: bool = True
    notes: tuple[str, ...] = field(default=(), compare=False)
    prefix: str = field(default="data.", compare=False)


@dataclass(frozen=True)
class Record:
    """One row: its fields, ``raw`` (its exact characters with the line end), and the number of its physical lines."""

    fields: list[str]
    raw: str
    num_lines: int = 1


def records(path: Path, dialect: Dialect) -> Iterator[Record]:
    """Yield the rows below the header in order; empty lines are skipped.

    ``raw.encode(dialect.encoding, "surrogateescape")`` gives the bytes of the file.

    Raises:
        DataError: a row is malformed. The number of fields isn't checked here.
    """
    yield from islice(_all_records(path, dialect), int(dialect.has_header), None)


def preamble(path: Path, dialect: Dialect) -> str:
    """Return everything before the first row: Excel's ``sep=`` line, empty lines, and the header with its line end."""
    with open_text(path, dialect.encoding) as file:
        skipped = "".join(islice(file, dialect.num_skipped))
        if not dialect.has_header:
            return skipped
        empty = "".join(takewhile(lambda line: not line.strip("\r\n"), file))
    return skipped + empty + next(_all_records(path, dialect)).raw


def split_lines(
    lines: Iterable[str], delimiter: str, quoting: str, *, strict: bool = False
) -> Iterator[list[str]]:
    """Yield the fields of each row of ``lines``; an empty line gives an empty list."""
    settings: dict[str, Any] = {"delimiter": delimiter, "strict": strict}
    if quoting == NO_QUOTES:
        settings |= {"quoting": csv.QUOTE_NONE, "quotechar": None}
    return csv.reader(lines, **settings)


def _all_records(path: Path, dialect: Dialect) -> Iterator[Record]:
    with open_text(path, dialect.encoding) as file, long_fields():
        lines = _Recorded(islice(file, dialect.num_skipped, None))
        rows = split_lines(lines, dialect.delimiter, dialect.quoting, strict=True)
        row = 1 - int(dialect.has_header)
        while True:
            first_line = dialect.num_skipped + lines.count + 1
            try:
                fields = next(rows, None)
            except csv.Error as error:
                place = f"row {row}" if row else "header"
                raise DataError(
                    f"{path}, {place}: malformed: {error}; it begins in line {first_line}. Put quotes around a field "
                    "that contains quotes, and double the inner ones; if quotation marks are ordinary "
                    f"characters, set {dialect.prefix}quoting=none"
                ) from error
            raw, num_lines = lines.taken()
            if fields is None:
                return
            if fields:
                yield Record(fields, raw, num_lines)
                row += 1


class _Recorded:
    """An iterator over lines that remembers which lines were read since the last call of `taken`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._taken: list[str] = []
        self.count = 0

    def __iter__(self) -> _Recorded:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._taken.append(line)
        self.count += 1
        return line

    def taken(self) -> tuple[str, int]:
        """Return the lines read since the last call as one text, and their number."""
        taken, self._taken = self._taken, []
        return "".join(taken), len(taken)


@contextmanager
def long_fields() -> Iterator[None]:
    """Lift the csv module's limit on the length of a field within the block."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
