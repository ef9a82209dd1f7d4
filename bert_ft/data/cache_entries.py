"""Entries of the cache folder: locked while in use; beyond a size limit the least recently used are removed.

A process holds a shared lock on each file that it reads or writes; removing a file needs an exclusive lock. Locks end with
their process, however it ends, so a file without a lock is either unused or left half-written.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

_NEW_SECONDS = 60  # an unfinished file may be younger than its lock

log = logging.getLogger(__name__)


def hold(path: Path) -> IO[bytes] | None:
    """Return the open file, which isn't removed until it is closed; ``None`` if it no longer exists."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    try:
        with suppress(OSError):  # some network drives have no locks
            _lock(file, shared=True)
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise FileNotFoundError
    except OSError:  # removed before it was locked
        file.close()
        return None
    with suppress(OSError):  # another user's
        os.utime(path)
    return file


def limit_cache(folder: Path, max_gigabytes: float | None) -> None:
    """Remove half-written files of killed processes, and the least recently used files beyond the size.

    Files that a process holds are kept.

    Args:
        folder: the cache folder.
        max_gigabytes: size limit; ``None`` = no limit.
    """
    for path in folder.glob(".*.tmp"):
        if time.time() - _used_and_size(path)[0] > _NEW_SECONDS:
            _remove_if_unused(path)
    if max_gigabytes is None:
        return
    entries = sorted((*_used_and_size(path), path) for path in folder.glob("*.arrow"))
    excess = sum(size for _, size, _ in entries) - max_gigabytes * 1e9
    removed = 0
    for _, size, path in entries:
        if excess > 0 and _remove_if_unused(path):
            excess -= size
            removed += 1
    if removed:
        log.info("data.max_cache_gb=%g: removed %d files from %s", max_gigabytes, removed, folder)


def _used_and_size(path: Path) -> tuple[float, int]:
    try:
        found = path.stat()
    except OSError:  # another process has removed it
        return time.time(), 0
    return found.st_mtime, found.st_size


def _remove_if_unused(path: Path) -> bool:
    try:
        with path.open("rb+") as file:  # over a network a lock of one's own needs the right to write
            locked = _lock(file, shared=False)
            if locked:
                path.unlink()
        if not locked:
            path.unlink()
    except OSError:  # in use, removed by another process, or another user's
        return False
    return True


def _lock(file: IO[bytes], *, shared: bool) -> bool:
    """Lock an open file until it is closed, and return ``True``; ``False`` on Windows, which keeps open files from being removed.

    Raises:
        OSError: the file has another process's lock, or is on a drive without locks.
    """
    try:
        import fcntl
    except ImportError:
        return False
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
