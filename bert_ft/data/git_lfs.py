"""Files that git-LFS hasn't fetched: a clone then has small pointer files in their place."""

from __future__ import annotations

from pathlib import Path

from bert_ft.errors import CheckpointError

_BEGINNING = b"version https://git-lfs.github.com/spec/"
_LONGEST = 1024  # bytes, by the specification


def refuse_pointers(where: str, folder: Path) -> None:
    """Refuse a folder that directly contains pointer files.

    Raises:
        CheckpointError: names the files; ``where`` is the key and value that name the folder.
    """
    small = [path for path in folder.iterdir() if path.is_file() and path.stat().st_size <= _LONGEST]
    found = sorted(path.name for path in small if path.read_bytes().startswith(_BEGINNING))
    if found:
        raise CheckpointError(
            f"{where}: {', '.join(found)} {'is a pointer' if len(found) == 1 else 'are pointers'} of git-LFS instead of the "
            "content; run `git lfs pull` in the clone, or download the files"
        )
