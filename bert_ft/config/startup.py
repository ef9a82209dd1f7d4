"""Make the start of a command faster: settings around its heavy imports, before torch is loaded."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bert_ft.config.busy_machine import SPIN, OtherWork, spin_shortly
from bert_ft.kernels.memory import HUGE_PAGES, keep_freed_memory
from bert_ft.signals import ending_at_once


@contextmanager
def heavy_imports(*, kernels: str = "fast") -> Iterator[None]:
    """Import torch, lightning and transformers inside this context, with the garbage collector off.

    The imports create a million permanent objects. Scanning them again and again took a quarter of the time until the first
    step. In a process without torch, these objects are also excluded from later collections. A command turns the collector
    off even earlier, before it composes its configuration. With ``kernels="plain"``, the system's memory
    settings are kept.

    Environment variables that torch reads when it is loaded are set inside and restored afterwards, also for child
    processes: a forked process has what torch has read, and another program must not be affected.
    """
    before = {name: os.environ.get(name) for name in (SPIN, HUGE_PAGES)}
    first = "torch" not in sys.modules
    if first:
        spin_shortly()
    if kernels == "fast":
        keep_freed_memory()
    others = OtherWork()
    gc.disable()
    try:
        with ending_at_once():
            yield
    finally:
        if first:
            gc.freeze()
        gc.enable()
        torch = sys.modules.get("torch")
        if first and torch is not None and hasattr(torch, "empty"):  # else its import has failed
            torch.empty(1)  # the first tensor reads the one for huge pages
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    if first and torch is not None:
        others.warn_if_crowded(torch.get_num_threads())
