"""Imports and loading without garbage collections in between."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Switch the garbage collector off inside the context; afterwards, treat the new objects as old ones.

    Imports create a million permanent objects, which it would scan again and again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else this would undo the caller's own freeze
            # moves all objects to the oldest generation, unseen
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()
