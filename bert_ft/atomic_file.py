"""Replace files atomically: a reader finds either the old or the new content, never a part of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` to write to, and move it to ``path`` if the block ends without an error.

    The folder must exist. The new file gets the usual permissions of the process (umask).
    """
    with temporary_file(path.parent) as unfinished:
        yield unfinished
        put_in_place(unfinished, path)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """Yield a new empty file in ``folder``, to be written and then put in place; remove it if it is still there."""
    path = folder / f".{uuid4().hex}.tmp"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Move the finished file, which is in the same folder, to ``path``."""
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())  # else the name can outlive a crash of the machine and the content not
    os.replace(unfinished, path)


def follow_umask(folder: Path) -> None:
    """Give the files in a folder the usual permissions; safetensors writes its own for the owner alone."""
    with temporary_file(folder) as usual:
        mode = usual.stat().st_mode
        for path in folder.iterdir():
            if path.is_file():
                path.chmod(mode)


def write(path: Path, content: bytes) -> None:
    """Replace the file's content."""
    with replaced(path) as unfinished:
        unfinished.write_bytes(content)
