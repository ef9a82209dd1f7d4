"""Replace files atomically: a reader finds either the old or the new content, never a part of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

_SUFFIX = ".tmp"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` to write to, and move it to ``path`` if the block ends without an error.

    The folder must exist. The new file gets the usual permissions of the process (umask).
    """
    with _named(path), temporary_file(path.parent) as unfinished:
        yield unfinished
        put_in_place(unfinished, path)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """Yield a new empty file in ``folder``; remove it at the end if ``put_in_place`` hasn't moved it."""
    path = folder / f".{uuid4().hex}{_SUFFIX}"
    with _named(folder):
        path.touch()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Move the finished file, which is in the same folder, to ``path``."""
    _flush(unfinished)  # otherwise a crash of the machine could keep the name but lose the content
    os.replace(unfinished, path)
    _flush_names(path.parent)


def flush_folder(folder: Path) -> None:
    """Write all content of a folder to the disk, before it replaces another folder."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            _flush_names(path)
        else:
            _flush(path)


def follow_umask(folder: Path) -> None:
    """Give the files in a folder the usual permissions; safetensors lets only the owner read its files."""
    with temporary_file(folder) as usual:
        mode = usual.stat().st_mode
        for path in folder.iterdir():
            if path.is_file():
                path.chmod(mode)


def write(path: Path, content: bytes) -> None:
    """Replace the file's content."""
    with replaced(path) as unfinished:
        unfinished.write_bytes(content)


def new_folder(wanted: Path) -> Path:
    """Create and return a new folder: ``wanted``, with a number added if it exists."""
    path, number = wanted, 1
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            path.mkdir()  # of two processes only one makes it
            return path
        except FileExistsError:
            number += 1
            path = wanted.with_name(f"{wanted.name}_{number}")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_names(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not supported by some network drives
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Make a write error name ``path``; by itself it names the temporary file at most."""
    try:
        yield
    except OSError as error:
        known = str(error.filename)
        is_known = error.filename is not None and known != str(path.parent) and not known.endswith(_SUFFIX)
        if error.errno is not None and not is_known:
            error.filename = str(path)
        raise
