"""Opening text files so that a byte that isn't UTF-8 can be told with its row."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bert_ft.errors import DataError


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The file as UTF-8 with or without a byte order mark, unpacked if its name ends in ``.gz``.

    Each byte that isn't UTF-8 becomes one lone surrogate, which ``check_utf8`` finds. A strict decoder
    would only say in which block of 8 kB it lies. Line ends stay as they are.

    Raises:
        DataError: the file can't be read, or it is packed and damaged.
    """
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as binary:
            yield io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: can't be read: {error}") from error


def check_utf8(text: str, place: str) -> None:
    """Raise ``DataError`` if ``text``, read by ``open_text``, holds a byte that isn't UTF-8."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        raise DataError(f"{place}: byte 0x{byte:02X} isn't UTF-8; save the file as UTF-8") from None
