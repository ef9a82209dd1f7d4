"""Make the start of a command faster: settings around its heavy imports, before torch is loaded."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bert_ft.kernels.memory import keep_freed_memory


@contextmanager
def heavy_imports(*, kernels: str = "fast") -> Iterator[None]:
    """Import torch, lightning and transformers inside this context, with the garbage collector off.

    The imports create a million permanent objects. Scanning them again and again took a quarter of the time until the first
    step. In a process without torch, these objects are also excluded from later collections. A command turns the collector
    off even earlier, before it composes its configuration. With ``kernels="plain"``, the memory settings of the system
    remain.
    """
    if kernels == "fast":
        keep_freed_memory()
    first = "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if first:
            gc.freeze()
        gc.enable()
