"""How the process asks the system for memory, on a CPU."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from functools import cache

log = logging.getLogger(__name__)

# parameters of glibc's mallopt, as malloc.h numbers them
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Let tensors reuse memory that others left, instead of handing it back and asking anew.

    As it is set by default, glibc maps each tensor above 32 MB afresh and returns the heap's end as soon as it is
    free, so that a step on long texts takes 200,000 page faults: a tenth of its time. Transparent huge pages
    (an environment variable of torch's, read when it is imported) make those that remain cheaper. What
    the process holds is then its peak until it ends. Other systems than Linux with glibc are left as they are.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1)):
        if mallopt(parameter, value) != 1:
            _say_refused()


@cache  # once in a process
def _say_refused() -> None:
    log.warning(
        "encoder.kernels=fast: the C library refused to keep freed memory (mallopt); using its own settings"
    )
