"""How a command gets to its work sooner: around its heavy imports, before torch is loaded."""

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
    """Settings of the process for torch, lightning and transformers, which are imported inside.

    Imports make a million objects that all stay, and the garbage collector walks through them time and again:
    a quarter of the seconds until the first step. It rests meanwhile, and what was imported in a process that had
    none of it before is left out of later collections. A command stops it even before, when it begins to compose its
    configuration. ``kernels``: with ``plain``, memory is left to the system's own settings.

    Environment variables that torch reads when it is loaded are set inside, and afterwards are as they were, for child
    processes as well: a forked one has what torch has read, and another program is none of ours.
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
