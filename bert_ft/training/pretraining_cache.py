"""Cache of pre-training results, so that an identical stage is trained only once, even by concurrent processes."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from bert_ft.atomic_file import flush_folder
from bert_ft.data.dataset import TokenizedSplit

UNFINISHED = ".unfinished"  # suffix of a folder that is being made or removed
_FORMAT = 1  # part of every key: raise it when the same settings give other results or files

log = logging.getLogger(__name__)


@contextmanager
def made_once(
    root: Path, key: str, make: Callable[[Path], None], *, num_kept: int
) -> Iterator[tuple[Path, bool]]:
    """Yield the folder ``key`` in ``root``, and whether it was made just now.

    Of processes that need the same folder, one makes it and the others wait. If that process dies, its lock is released and
    another one makes it. The folder appears only when it is complete, and isn't removed before the block ends.

    Args:
        root: folder of the cache.
        key: identifies everything that determines the content.
        make: fills an empty folder.
        num_kept: number of folders to keep in ``root``, the most recently used ones.
    """
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f"{key}.lock"):
        entry, unfinished = root / key, root / f"{key}{UNFINISHED}"
        is_missing = not entry.is_dir()
        if is_missing:
            shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that died
            unfinished.mkdir()
            make(unfinished)
            flush_folder(unfinished)
            unfinished.rename(entry)
        os.utime(entry)
        yield entry, is_missing
    _drop_oldest(root, num_kept)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is running the same pre-training; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _drop_oldest(root: Path, num_kept: int) -> None:
    """Remove all but the most recently used entries, and the remains of killed processes."""
    folders = [path for path in root.iterdir() if path.is_dir()]
    unfinished = [path for path in folders if path.suffix == UNFINISHED]
    entries = [path for path in folders if not path.suffix]
    for path in (*unfinished, *sorted(entries, key=_used_at, reverse=True)[num_kept:]):
        lock = FileLock(root / f"{path.stem}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:  # in use by another process
            continue
        try:
            _remove(path)
        finally:
            lock.release()


def _remove(path: Path) -> None:
    """Remove an entry so that no part of it can ever be mistaken for a complete one."""
    doomed = path.with_suffix(UNFINISHED)
    if doomed != path:
        shutil.rmtree(doomed, ignore_errors=True)
        try:
            path.rename(doomed)
        except OSError:  # another process has dropped it
            return
    shutil.rmtree(doomed, ignore_errors=True)


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has dropped it
        return 0.0


def stage_key(
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    splits: Iterable[TokenizedSplit],
    *,
    with_labels: bool,
) -> str:
    """Return a name that identifies everything that determines the result of a stage.

    Args:
        settings: plain values: configurations, seed, versions, precision, tokenizer.
        weights: the weights that it starts from, including the head's.
        splits: the texts, as ids.
        with_labels: whether the labels are used.
    """
    digest = sha256(json.dumps([_FORMAT, settings], sort_keys=True, default=str).encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for split in splits:
        digest.update(f"{split.name} {len(split)} {split.columns.input_ids.dtype}".encode())
        digest.update(split.lengths.tobytes())
        ids, types = split.sequences(range(len(split)))
        for part in (*ids, *(types or ())):
            digest.update(part.tobytes())
        if with_labels:
            digest.update(split.known_labels.tobytes())
    return digest.hexdigest()[:40]
