"""How a delimited file is written: its encoding, delimiter, quotes and header, from settings or the content.

Everything that reads or copies csv and tsv files asks here (``detect``), so that a file is read the same way everywhere.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from bert_ft.data.delimited import NO_QUOTES, QUOTES, Dialect, long_fields, split_lines
from bert_ft.data.quotes import quoting_of
from bert_ft.data.text_file import UTF_8, encoding_of_mark, open_text, unpacked_suffix
from bert_ft.errors import ConfigError, DataError

DELIMITERS = (",", ";", "\t", "|")
QUOTINGS = (QUOTES, NO_QUOTES)
SPELLED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_SAMPLE_LINES = 100
_EXCEL = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True)
class DialectSettings:
    """Dialect settings of a user; ``None`` = detect for each file.

    Attributes:
        delimiter: one character, or a name in ``SPELLED``.
        encoding: Python's name of the encoding.
        quoting: ``quotes``, or ``none``: quotation marks are ordinary characters.
        header: whether the first row names the columns; ``None``: yes, unless ``columns`` is set and that row
            has none of the columns to read.
        columns: column names that replace those of the header, unless it has the same names in another order.
        prefix: prefix of these keys in messages.
    """

    delimiter: str | None = None
    encoding: str | None = None
    quoting: str | None = None
    header: bool | None = None
    columns: tuple[str, ...] | None = None
    prefix: str = "data."

    @classmethod
    def of(cls, given: Any, prefix: str = "data.") -> Self:
        """Return the settings of a configuration or an object that has them by these names; those that it lacks are ``None``.

        Raises:
            ConfigError: see ``__post_init__``.
        """
        delimiter, encoding, quoting, header, columns = (
            getattr(given, name, None) for name in ("delimiter", "encoding", "quoting", "header", "columns")
        )
        return cls(delimiter, encoding, quoting, header, None if columns is None else tuple(columns), prefix)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: the delimiter isn't one character, or there is no such encoding.
        """
        character = "," if self.delimiter is None else SPELLED.get(self.delimiter, self.delimiter)
        if len(character) != 1 or character in '"\r\n\0':
            raise ConfigError(
                f"{self.prefix}delimiter={self.delimiter}: must be a single character (not a quotation mark or a line "
                f"break), or one of {', '.join(SPELLED)}"
            )
        if self.encoding is not None:
            try:
                b"".decode(self.encoding, "surrogateescape")
                io.TextIOWrapper(io.BytesIO(), self.encoding)  # refuses codecs that aren't of texts
            except (LookupError, ValueError):
                raise ConfigError(
                    f"{self.prefix}encoding={self.encoding}: there is no such encoding; give e.g. utf-8, utf-16 or cp1252"
                ) from None

    def of_unlabeled(self, path: Path) -> DialectSettings:
        """Return the settings that also apply to the unlabeled file ``path``."""
        if unpacked_suffix(path) == ".txt":
            return DialectSettings(encoding=self.encoding, prefix=self.prefix)
        return self

    def check_used(self, paths: Iterable[Path]) -> None:
        """Raise ``ConfigError`` if a setting of delimited files is given, but none of the files is delimited."""
        suffixes = {unpacked_suffix(path) for path in paths}
        given = [
            name for name in ("delimiter", "quoting", "header", "columns") if getattr(self, name) is not None
        ]
        if given and suffixes <= {".json", ".jsonl", ".parquet"}:
            raise ConfigError(
                f"{self.prefix}{given[0]} applies only to csv, tsv and txt files, not to {', '.join(sorted(suffixes))}; "
                "leave it null"
            )

    @property
    def describes_table(self) -> bool:
        """Return whether the settings imply delimited rows, whatever the file's suffix."""
        return self.delimiter is not None or self.header is not None or self.columns is not None


def detect(
    path: Path,
    settings: DialectSettings | None = None,
    *,
    default: str = ",",
    wanted: Sequence[str] = (),
    label: str | None = None,
) -> Dialect:
    """Return the dialect of a file: from the settings, else from its first line and its quotes.

    Args:
        path: the file, which may be compressed.
        settings: the user's settings.
        default: the delimiter for the suffix, used if several delimiters fit.
        wanted: columns to read; the delimiter that gives them is the right one.
        label: the label column, whose values reveal rows within an unclosed field.

    Raises:
        DataError: the file is empty, has columns that differ from the settings, or a quoted field isn't closed.
    """
    settings = settings or DialectSettings()
    lines = _sample(path, settings.encoding)
    excel = _EXCEL.fullmatch(lines[0]) if lines else None
    lines = lines[1:] if excel else lines
    if not any(map(str.strip, lines)):
        raise DataError(
            f"{path}: the file is empty; {'' if settings.columns else 'a header and '}rows are expected"
        )
    if lines[0].count("\0") * 3 > len(lines[0]) > 6:
        raise DataError(
            f"{path}: its first line has null bytes; is this a file of text? If it is UTF-16: {settings.prefix}encoding=utf-16-le"
        )
    quoting = settings.quoting or QUOTES
    delimiter = excel[1] if excel else _delimiter(lines, default, quoting, settings, wanted)
    if settings.delimiter is not None:
        delimiter = SPELLED.get(settings.delimiter, settings.delimiter)
    first = _rows(lines, delimiter, quoting)[0]
    has_header = settings.header
    if has_header is None:
        names, given = _names(first, wanted), settings.columns or ()
        of_ours = any(name in wanted for name, new in zip(names, given, strict=False) if name == new)
        has_header = settings.columns is None or sorted(names) == sorted(given) or of_ours
    dialect = Dialect(
        delimiter,
        encoding=settings.encoding or encoding_of_mark(path) or UTF_8,
        quoting=quoting,
        columns=_columns(path, first, has_header, settings, wanted),
        num_skipped=int(excel is not None),
        has_header=has_header,
        prefix=settings.prefix,
    )
    notes = list(_decisions(path, dialect, default))
    if settings.quoting is None:
        dialect, more = quoting_of(path, dialect, label)
        notes += more
    return replace(dialect, notes=tuple(notes))


def header_of(path: Path, settings: DialectSettings, *, default: str, wanted: Sequence[str]) -> list[str]:
    """Return the fields of the first line of any file, split by the delimiter that gives the wanted columns."""
    lines = _sample(path, settings.encoding)
    if not any(line.strip("\r\n") for line in lines):
        return []
    delimiter = _delimiter(lines, default, NO_QUOTES, settings, wanted)
    return _names(_rows(lines, delimiter, NO_QUOTES)[0], wanted)


def _sample(path: Path, encoding: str | None) -> list[str]:
    with open_text(path, encoding) as file:
        return list(islice(file, _SAMPLE_LINES))


def _rows(lines: list[str], delimiter: str, quoting: str) -> list[list[str]]:
    with long_fields():
        return [row for row in split_lines(lines, delimiter, quoting) if row]


def _names(header: list[str], wanted: Sequence[str]) -> list[str]:
    """Return the header's names without the spaces, and second byte order marks, that some programs write around them."""
    return [name if name in wanted else name.strip("\ufeff").strip() for name in header]


def _columns(
    path: Path, first: list[str], has_header: bool, settings: DialectSettings, wanted: Sequence[str]
) -> tuple[str, ...]:
    if settings.columns is None:
        return tuple(_names(first, wanted) if has_header else map(str, range(len(first))))
    if len(settings.columns) != len(first):
        raise DataError(
            f"{path}: its first row has {len(first)} fields, but {settings.prefix}columns names "
            f"{len(settings.columns)}: {', '.join(settings.columns)}"
        )
    names = _names(first, wanted)
    return tuple(names if has_header and sorted(names) == sorted(settings.columns) else settings.columns)


def _delimiter(
    lines: list[str], default: str, quoting: str, settings: DialectSettings, wanted: Sequence[str]
) -> str:
    """Return the first candidate whose header has the wanted columns, else the one with the most fields per row."""
    candidates = (default, *(each for each in DELIMITERS if each != default))
    rows = {delimiter: _rows(lines, delimiter, quoting) for delimiter in candidates}
    if settings.columns is None and settings.header is not False and wanted:
        for delimiter in candidates:
            if set(wanted) <= set(_names(rows[delimiter][0], wanted)):
                return delimiter
    widths = {delimiter: _width(rows[delimiter]) for delimiter in candidates}
    if settings.columns and len(settings.columns) in widths.values():
        return next(delimiter for delimiter in candidates if widths[delimiter] == len(settings.columns))
    return max(candidates, key=lambda delimiter: widths[delimiter])  # the first of equals


def _width(rows: list[list[str]]) -> int:
    """Return the number of fields in each row of a sample but the last, which may be cut; 0 if they differ."""
    widths = {len(row) for row in rows[:-1] or rows}
    return widths.pop() if len(widths) == 1 else 0


def _decisions(path: Path, dialect: Dialect, default: str) -> Iterator[str]:
    if dialect.num_skipped:
        yield f"{path}: its first line, sep={dialect.delimiter}, is for Excel and isn't read as a row"
    elif dialect.delimiter != default:
        yield f"{path}: read with the delimiter {dialect.delimiter!r}"
    if dialect.encoding.lower() != UTF_8:
        yield f"{path}: read as {dialect.encoding}"
    if not dialect.has_header:
        yield f"{path}: read without a header, as columns {', '.join(dialect.columns)}"
