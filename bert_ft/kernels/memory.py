"""Memory allocation of the process."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from functools import cache

log = logging.getLogger(__name__)

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # environment variable
# parameters of glibc's mallopt, from malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let tensors reuse freed memory instead of returning it to the system.

    By default glibc maps each tensor above 32 MB separately and returns the end of the heap as soon as it is free, so a
    step on long texts takes 200,000 page faults: a tenth of its time. Transparent huge pages (an environment variable
    that torch reads when it makes its first tensor) make the remaining ones cheaper. In return the process keeps its peak memory until it
    ends. Systems other than Linux with glibc are left as they are.
    """
    os.environ.setdefault(HUGE_PAGES, "1")
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1)):
        if mallopt(parameter, value) != 1:
            _warn_refused()


@cache  # once per process
def _warn_refused() -> None:
    log.warning(
        "encoder.kernels=fast: the C library refused to keep freed memory (mallopt); using its own settings"
    )
