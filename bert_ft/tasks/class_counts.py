"""How many rows of a split each class has, for the data report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def class_counts(ids: np.ndarray, names: Sequence[str]) -> dict[str, int | float]:
    """Return the number of rows of each class, in the order of ``names``, from class ids ``(rows,)``."""
    import numpy as np

    return dict(zip(names, np.bincount(ids, minlength=len(names)).tolist(), strict=True))


def without_rows(summary: Mapping[str, int | float], names: Sequence[str]) -> Iterator[str]:
    """Yield the end of a sentence about the split that names the classes without rows, if there are any."""
    if missing := [name for name in names if summary[name] == 0]:
        yield f"no row of {', '.join(missing)}"
