"""Open text files, decompressed and decoded so that an invalid byte can be reported with its row."""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from bert_ft.errors import DataError

PACKED = (".gz", ".zst", ".zip")
UTF_8 = "utf-8"
# The longer mark first: UTF-32's begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WRITTEN = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAME = {".ndjson": ".jsonl", ".tab": ".tsv"}
_FOREIGN = (
    (b"\x1f\x8b", "is compressed; rename it to {path.name}.gz"),
    (b"\x28\xb5\x2f\xfd", "is compressed; rename it to {path.name}.zst"),
    (
        b"PK\x03\x04",
        "is a zip archive or an Excel file; rename an archive to {path.name}.zip, or save a workbook as csv",
    ),
    (b"\xd0\xcf\x11\xe0", "is an Excel file; save it as csv"),
    (b"PAR1", "is a parquet file; rename it to {path.stem}.parquet"),
    (b"version https://git-lfs", "is a pointer to the file, not the file; fetch it with `git lfs pull`"),
    (b"<!doctype html", "is a web page, perhaps in place of a download; fetch the file itself"),
    (b"<html", "is a web page, perhaps in place of a download; fetch the file itself"),
)
_LONGEST_MARK = max(len(mark) for mark, _ in _FOREIGN)


def unpacked_suffix(path: Path | str) -> str:
    """Return the suffix of the decompressed file, in lower case and its usual form: ``.csv`` for ``a.csv`` and ``a.CSV.gz``."""
    name = Path(path).name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    suffix = Path(name).suffix
    return _SAME.get(suffix, suffix)


def check_name(path: Path, key: str = "") -> None:
    """Raise ``DataError`` if this path is impossible: a name in it is too long, or a folder can't be entered."""
    try:
        path.exists()
    except OSError as error:
        raise DataError(f"{key}{path}: {error.strerror}; give another path") from error


def check_is_file(path: Path, key: str = "") -> None:
    """Raise ``DataError`` unless there is a file that can be read more than once; ``key`` begins the message."""
    check_name(path, key)
    if not path.exists():
        raise DataError(f"{key}{path}: no such file (searched from {Path.cwd()})")
    if not path.is_file() and not path.is_dir():
        raise DataError(
            f"{key}{path}: is a pipe or device, which can be read only once; save its content as a file"
        )


@contextmanager
def open_bytes(path: Path) -> Iterator[Any]:
    """Open the content of a file, decompressed if its name ends in one of ``PACKED``.

    Raises:
        DataError: it can't be read, is compressed and damaged, or is compressed without the suffix for it.
    """
    try:
        with path.open("rb") as file:
            packed = path.suffix.lower()
            head = file.read(_LONGEST_MARK)
            file.seek(0)
            if packed == ".gz":
                yield gzip.GzipFile(fileobj=file)
            elif packed == ".zst":
                yield pa.CompressedInputStream(file, "zstd")
            elif packed == ".zip":
                with zipfile.ZipFile(file) as archive, archive.open(_only_member(archive, path)) as member:
                    yield member
            else:
                is_prose = unpacked_suffix(path) == ".txt"  # whose first line may be anything
                for mark, meaning in _FOREIGN:
                    if head.lower().startswith(mark.lower()) and not (is_prose and mark.startswith(b"<")):
                        raise DataError(f"{path}: {meaning.format(path=path)}")
                yield file
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: can't be read: {error}") from error


def _only_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    members = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")  # what macOS adds
    ]
    if len(members) != 1:
        names = ", ".join(info.filename for info in members[:5]) or "nothing"
        raise DataError(f"{path}: the archive must hold one file, but it holds {names}; unpack it")
    return members[0]


def encoding_of_mark(path: Path) -> str | None:
    """Return the encoding that a byte order mark at the start of the file names, or ``None`` without one."""
    with open_bytes(path) as file:
        head = file.read(4)
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def mark_of(path: Path) -> tuple[bytes, str | None]:
    """Return the byte order mark at the start of the file and the codec that writes what follows it; else ``b"", None``."""
    with open_bytes(path) as file:
        head = file.read(4)
    mark, codec = next(((mark, codec) for mark, codec in _WRITTEN if head.startswith(mark)), (b"", None))
    return mark, codec


@contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[TextIO]:
    """Open a file as text without its byte order mark, decompressed if its suffix says so.

    Each byte that is invalid in the encoding becomes one lone surrogate, which ``check_text`` finds. A strict decoder
    would only say in which block of 8 kB it lies. Line ends stay as they are.

    Args:
        path: the file.
        encoding: ``None`` = the encoding of the byte order mark, else UTF-8.

    Raises:
        DataError: the file can't be read, or it is compressed and damaged.
    """
    marked = encoding_of_mark(path)
    encoding = encoding or marked or UTF_8
    try:
        with open_bytes(path) as binary:
            yield io.TextIOWrapper(
                binary, encoding=_codec(encoding, marked), errors="surrogateescape", newline=""
            )
    except UnicodeError as error:
        raise DataError(
            f"{path}: can't be read as {encoding}: {error}; set data.encoding to the encoding of the file"
        ) from error


def _codec(encoding: str, marked: str | None) -> str:
    """Return the codec that skips a byte order mark; those with an explicit byte order don't skip it."""
    name = codecs.lookup(encoding).name
    if name == UTF_8:
        return "utf-8-sig"
    return marked if marked is not None and name.startswith(f"{marked}-") else encoding


def check_text(text: str, place: str, encoding: str = UTF_8) -> None:
    """Raise ``DataError`` if ``text``, read by ``open_text``, holds a byte that isn't valid in the encoding."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        raise DataError(f"{place}: byte 0x{byte:02X} isn't {encoding.upper()}; {_otherwise(text)}") from None


def _otherwise(text: str) -> str:
    """Return how to read the text, and an excerpt of it in the most common encoding besides UTF-8."""
    try:
        shown = text.encode(UTF_8, "surrogateescape").decode("cp1252")
    except UnicodeError:
        return "save the file as UTF-8, or set data.encoding to the encoding of the file"
    start = next(i for i, (a, b) in enumerate(zip(text, shown, strict=False)) if a != b)
    excerpt = shown[max(0, start - 20) : start + 20]
    return f"save the file as UTF-8, or set data.encoding: data.encoding=cp1252 would give {excerpt!r}"
