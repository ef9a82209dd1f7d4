"""A table of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHORT = 24  # characters
LONG_TEXT = 300  # characters: of a longer text the beginning is shown
LONG = 30  # rows: a longer table is folded up


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Attributes:
        text: of the cell.
        share: between 0 and 1, how far a bar behind the text goes.
        is_number: whether it stands to the right.
    """

    text: str
    share: float | None = None
    is_number: bool = False

    @property
    def is_short(self) -> bool:
        """Whether it stays on one line."""
        return len(self.text) <= SHORT

    @property
    def beginning(self) -> str | None:
        """What is shown of a long text while it is folded up; ``None`` of any other."""
        return self.text[:LONG_TEXT] if len(self.text) > LONG_TEXT else None

    @property
    def rest(self) -> str:
        """What comes after the beginning."""
        return self.text[LONG_TEXT:]


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        title: its heading.
        reading: how to read it; empty where it speaks for itself.
        columns: their headings.
        rows: as many cells each.
    """

    title: str
    reading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def is_long(self) -> bool:
        """Whether it is folded up."""
        return len(self.rows) > LONG


def number(value: Any, digits: int = 4) -> Cell:
    """A number with so many digits behind the point, or significant ones where it is very small or large."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return Cell("-" if value is None else str(value), is_number=True)
    if isinstance(value, int):
        return Cell(f"{value:,}", is_number=True)
    is_plain = value == 0 or 10.0**-digits <= abs(value) < 1e5
    return Cell(f"{value:.{digits}f}" if is_plain else f"{value:.3g}", is_number=True)


def share(value: float) -> Cell:
    """A number between 0 and 1, with a bar as long; a dash where it is NaN."""
    if not math.isfinite(value):
        return Cell("-", is_number=True)
    return Cell(f"{value:.3f}", share=float(value), is_number=True)
