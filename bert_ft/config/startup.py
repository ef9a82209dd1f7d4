"""How a command gets to its work sooner: around its heavy imports, before torch is loaded."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bert_ft.kernels.memory import keep_freed_memory
from bert_ft.signals import ending_at_once


@contextmanager
def heavy_imports(*, kernels: str = "fast") -> Iterator[None]:
    """Settings of the process for torch, lightning and transformers, which are imported inside.

    Imports make a million objects that all stay, and the garbage collector walks through them time and again:
    a quarter of the seconds until the first step. It rests meanwhile, and what was imported in a process that had
    none of it before is left out of later collections. A command stops it even before, when it begins to compose its
    configuration. ``kernels``: with ``plain``, memory is left to the system's own settings.
    """
    if kernels == "fast":
        keep_freed_memory()
    first = "torch" not in sys.modules
    gc.disable()
    try:
        with ending_at_once():
            yield
    finally:
        if first:
            gc.freeze()
        gc.enable()
