"""Uses of torchmetrics (1.9) that have no public API."""

from __future__ import annotations

import sys
from types import ModuleType


def import_without_signals() -> None:
    """Import torchmetrics without ``scipy.signal``, which would take half a second of every start.

    torchmetrics imports it to restore a function that scipy has dropped, for an audio metric (SRMRpy's), unless it is
    there. A later ``import scipy.signal`` works as usual.
    """
    # no public API: ``import torchmetrics`` imports its metrics of every kind, and all their requirements
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
