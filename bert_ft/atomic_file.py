"""Files that are replaced as a whole: a reader finds the old content or the new, and never half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

_SUFFIX = ".tmp"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; what is written there takes its place when the block ends without an error.

    The folder must exist. The new file has the rights that the process gives to any file.
    """
    with _named(path), temporary_file(path.parent) as unfinished:
        yield unfinished
        put_in_place(unfinished, path)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """Yield a new empty file in ``folder``, to be written and then put in place; it is removed if it is still there."""
    path = folder / f".{uuid4().hex}{_SUFFIX}"
    with _named(folder):
        path.touch()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Let the finished file, which is in the same folder, take the place of ``path``."""
    _flush(unfinished)  # else the name can outlive a crash of the machine and the content not
    os.replace(unfinished, path)
    _flush_names(path.parent)


def flush_folder(folder: Path) -> None:
    """Have all that is in a folder on the disk, before it takes the place of another."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            _flush_names(path)
        else:
            _flush(path)


def write(path: Path, content: bytes) -> None:
    """Replace the file by one with this content."""
    with replaced(path) as unfinished:
        unfinished.write_bytes(content)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_names(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives have no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an error of writing, which knows the unfinished file at most, name ``path``."""
    try:
        yield
    except OSError as error:
        known = str(error.filename)
        is_known = error.filename is not None and known != str(path.parent) and not known.endswith(_SUFFIX)
        if error.errno is not None and not is_known:
            error.filename = str(path)
        raise
