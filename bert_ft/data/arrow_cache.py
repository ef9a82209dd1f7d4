"""Arrow files in the cache folder: written whole or not at all, read by memory-mapping."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from bert_ft.atomic_file import put_in_place, temporary_file
from bert_ft.data.cache_entries import hold
from bert_ft.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

# What an Arrow stream ends with: a file cut short (a full disk, an interrupted copy) lacks it.
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def cache_folder(cache_dir: Path | str | None) -> Path:
    """Return the cache folder: ``cache_dir``, else ``$BERT_FT_CACHE``, else ``bert_ft`` in the user's cache.

    It is created if missing.

    Raises:
        DataError: the folder can't be created.
    """
    folder = Path(cache_dir).expanduser() if cache_dir is not None else _default_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def _default_folder() -> Path:
    if own := os.environ.get("BERT_FT_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "bert_ft"


def check_writable(folder: Path) -> None:
    """Refuse a folder that can't be written to, before any work is done that would be lost.

    Raises:
        DataError: a file can't be created there.
    """
    try:
        with temporary_file(folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"data.cache_dir={folder}: can't be written ({error.strerror}); give another folder there or in "
        "the environment variable BERT_FT_CACHE"
    )


def write_stream(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write ``batches`` to ``path`` as an Arrow stream."""
    with pa.ipc.new_stream(str(path), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def is_complete(path: Path) -> bool:
    """Return whether ``path`` is a complete Arrow stream."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END_OF_STREAM), os.SEEK_END)
            return file.read() == _END_OF_STREAM
    except OSError:  # no such file, or one shorter than the mark
        return False


def stored_dataset(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], cache_dir: Path | str | None
) -> Dataset:
    """Return ``batches`` as a memory-mapped dataset, stored in the cache under a hash of its content.

    The source is read and checked in each run, so that a stale copy is never used; this is cheap compared
    with tokenization. So the batches are written before their name is known.
    """
    from datasets import Dataset  # takes a second to import, and predictions in memory need none

    folder = cache_folder(cache_dir)
    check_writable(folder)
    with temporary_file(folder) as unfinished, ExitStack() as held:
        if (entry := hold(unfinished)) is not None:
            held.enter_context(entry)
        write_stream(unfinished, schema, batches)
        with unfinished.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path = folder / f"rows-{digest[:40]}.arrow"
        if is_complete(path) and (entry := hold(path)) is not None:
            held.enter_context(entry)
        else:
            put_in_place(unfinished, path)
        dataset = Dataset.from_file(str(path))
        weakref.finalize(dataset, held.pop_all().close)
    return dataset
