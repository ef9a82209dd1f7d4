"""What torchmetrics has no public way for (as of 1.9)."""

from __future__ import annotations

import sys
from types import ModuleType


def import_without_signals() -> None:
    """Import torchmetrics without ``scipy.signal``, half a second that every start would pay.

    torchmetrics imports it to give it back a function that scipy has dropped, for a metric of sound (SRMRpy's), and asks
    first whether it is there. ``scipy.signal`` itself is imported as ever by whoever asks for it later.

    The public way that is missing: ``import torchmetrics`` imports its metrics of every kind, and all that those need.
    """
    name = "scipy.signal"
    if "torchmetrics" in sys.modules or name in sys.modules:
        return
    empty = ModuleType(name)
    empty.hamming = None  # type: ignore[attr-defined]
    sys.modules[name] = empty
    try:
        import torchmetrics  # noqa: F401
    finally:
        del sys.modules[name]
