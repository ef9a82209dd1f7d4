"""Results of the pre-training stage, kept so that an identical stage is trained once, also by concurrent processes."""

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

UNFINISHED = ".unfinished"  # behind the name of a folder that is being made, or removed
_FORMAT = 1  # part of every key: raise it when the stage gives other results or files from the same settings

log = logging.getLogger(__name__)


@contextmanager
def made_once(
    root: Path, key: str, make: Callable[[Path], None], *, num_kept: int
) -> Iterator[tuple[Path, bool]]:
    """The folder ``key`` in ``root``, and whether it was made just now.

    Of processes that want the same one, one makes it and the others wait; if that one dies, another takes over, for its
    lock dies with it. The folder appears when it is complete, disappears as a whole, and not before the block is left.

    Args:
        root: of the cache.
        key: stands for all that determines the content.
        make: fills an empty folder.
        num_kept: the folders that are kept in ``root``, those used last.
    """
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f"{key}.lock"):
        entry, unfinished = root / key, root / f"{key}{UNFINISHED}"
        is_missing = not entry.is_dir()
        if is_missing:
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that died
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
        log.info("another process makes the same pre-training; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _drop_oldest(root: Path, num_kept: int) -> None:
    """All but the entries used last, and what processes that died have left."""
    folders = [path for path in root.iterdir() if path.is_dir()]
    unfinished = [path for path in folders if path.suffix == UNFINISHED]
    entries = [path for path in folders if not path.suffix]
    for path in (*unfinished, *sorted(entries, key=_used_at, reverse=True)[num_kept:]):
        lock = FileLock(root / f"{path.stem}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:  # somebody reads or makes it
            continue
        try:
            _remove(path)
        finally:
            lock.release()


def _remove(path: Path) -> None:
    """Without a moment in which a part of it could be taken for an entry."""
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
    """A name for all that determines the result of a stage.

    Args:
        settings: plain values: configurations, seed, versions, precision, tokenizer.
        weights: those that it starts from, the head's included.
        splits: the texts, as ids.
        with_labels: whether their labels take part.
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
