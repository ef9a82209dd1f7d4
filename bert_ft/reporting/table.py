"""A table of the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHORT = 24  # characters
LONG_TEXT = 300  # characters shown of a longer text
LONG = 30  # rows; a longer table is collapsed


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the length of a bar behind it (0 to 1), and whether it is right-aligned as a number."""

    text: str
    share: float | None = None
    is_number: bool = False

    @property
    def is_short(self) -> bool:
        """Whether the text stays on one line."""
        return len(self.text) <= SHORT

    @property
    def beginning(self) -> str | None:
        """The visible beginning of a collapsed long text; ``None`` for a short one."""
        return self.text[:LONG_TEXT] if len(self.text) > LONG_TEXT else None

    @property
    def rest(self) -> str:
        """The rest of the text after ``beginning``."""
        return self.text[LONG_TEXT:]


@dataclass(frozen=True)
class Table:
    """A table of the report; ``reading`` says how to read it, and may be empty."""

    title: str
    reading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def is_long(self) -> bool:
        """Whether it is collapsed."""
        return len(self.rows) > LONG


def number(value: Any, digits: int = 4) -> Cell:
    """Return a number with ``digits`` decimals; very small or large ones with 3 significant digits."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return Cell("-" if value is None else str(value), is_number=True)
    if isinstance(value, int):
        return Cell(f"{value:,}", is_number=True)
    is_plain = value == 0 or 10.0**-digits <= abs(value) < 1e5
    return Cell(f"{value:.{digits}f}" if is_plain else f"{value:.3g}", is_number=True)


def share(value: float) -> Cell:
    """Return a number between 0 and 1 with a bar of that length; a dash for NaN."""
    if not math.isfinite(value):
        return Cell("-", is_number=True)
    return Cell(f"{value:.3f}", share=float(value), is_number=True)


def short_number(value: float, digits: int = 4) -> str:
    """Return a number as ``number`` writes it; a large one with thousands and one decimal, as errors of prices are."""
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e9 else number(float(value), digits).text


def with_interval(
    value: float, low: float | None, high: float | None, *, bar: bool = False, digits: int = 4
) -> Cell:
    """Return a number with its interval: ``0.963 [0.902, 0.991]``; a dash for NaN, and never the number alone.

    Args:
        value: the number.
        low: lower end; ``None`` without an interval.
        high: upper end.
        bar: with a bar of its length, for a number between 0 and 1.
        digits: decimals of each.
    """
    if not math.isfinite(value):
        return Cell("-", is_number=True)
    text = short_number(value, digits)
    if low is None or high is None:
        text += " (no interval)"
    else:
        text += f" [{short_number(low, digits)}, {short_number(high, digits)}]"
    return Cell(text, share=float(value) if bar else None, is_number=True)


def duration(seconds: float) -> str:
    """Return a time as ``45.0 s``, ``12 min 5 s``, ``3 h 20 min`` or ``2 d 4 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
