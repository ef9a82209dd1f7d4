"""Labels as the values that a caller in Python gave, and as the names that a task has for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

TEXTS, INTEGERS, NUMBERS, BOOLEANS = "text", "integer", "number", "boolean"  # in saved folders
_KINDS = {"b": BOOLEANS, "i": INTEGERS, "u": INTEGERS, "f": NUMBERS}


def type_of_labels(labels: Sequence[Any]) -> str:
    """Return what all labels are; texts if they are of several kinds."""
    import numpy as np

    try:
        kind = np.asarray(labels).dtype.kind
    except ValueError:  # lists of several lengths
        return TEXTS
    if kind == "O" and all(isinstance(label, bool | np.bool_) for label in labels):
        return BOOLEANS
    return _KINDS.get(kind, TEXTS)


def label_values(names: Sequence[str], label_type: str) -> np.ndarray:
    """Return the value that each name stands for, ``(num_names,)``."""
    import numpy as np

    if label_type == BOOLEANS:
        return np.array([name == "true" for name in names], dtype=bool)
    if label_type == INTEGERS:
        return np.array([int(name) for name in names], dtype=np.int64)
    if label_type == NUMBERS:
        return np.array([float(name) for name in names], dtype=np.float64)
    return np.array(names, dtype=str)
