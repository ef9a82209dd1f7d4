"""Files that are replaced as a whole: a reader finds the old content or the new, and never half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; what is written there takes its place when the block ends without an error.

    The folder must exist. The new file has the rights that the process gives to any file.
    """
    with temporary_file(path.parent) as unfinished:
        yield unfinished
        put_in_place(unfinished, path)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """Yield a new empty file in ``folder``, to be written and then put in place; it is removed if it is still there."""
    path = folder / f".{uuid4().hex}.tmp"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Let the finished file, which is in the same folder, take the place of ``path``."""
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())  # else the name can outlive a crash of the machine and the content not
    os.replace(unfinished, path)


def write(path: Path, content: bytes) -> None:
    """Replace the file by one with this content."""
    with replaced(path) as unfinished:
        unfinished.write_bytes(content)


def new_folder(wanted: Path) -> Path:
    """Create and return a folder that nobody else has: ``wanted``, with a number added if that exists."""
    path, number = wanted, 1
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            path.mkdir()  # of two processes only one makes it
            return path
        except FileExistsError:
            number += 1
            path = wanted.with_name(f"{wanted.name}_{number}")
