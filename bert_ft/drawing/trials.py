"""What the pictures of a search share: the look of a trial by its state, and the axis of a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axis import Axis, XAxis
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from bert_ft.drawing.style import (
    COLOURS,
    FAINT_INK,
    SEQUENTIAL,
    TICK_SIZE,
    label_ticks,
    log_ticks,
    plain_ticks,
)

# states differ in shape and in lightness: grey print keeps them apart
MARKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": COLOURS[0], "markersize": 4.5, "markeredgewidth": 0},
    "pruned": {"marker": "x", "color": COLOURS[5], "markersize": 5, "markeredgewidth": 1.3},
    "failed": {"marker": "|", "color": "#000000", "markersize": 8, "markeredgewidth": 1.6},
    "running": {"marker": "o", "color": FAINT_INK, "markersize": 5, "markerfacecolor": "none"},
}
STAR: dict[str, Any] = {"marker": "*", "markersize": 13, "color": "#222222", "markerfacecolor": "#f0e442"}
PAD = 0.06  # of the range, free at either end
LARGE = 1e6  # numbers that are no longer written out
WIDE_DIGIT = 0.62  # of the letters' size


@dataclass(frozen=True)
class Scale:
    """The axis of one parameter.

    Attributes:
        name: of the parameter.
        low: its least value.
        high: its largest.
        is_log: whether equal distances are equal ratios.
        choices: at 0, 1, 2, …; empty for a parameter that is a number.
    """

    name: str
    low: float
    high: float
    is_log: bool = False
    choices: Sequence[str] = ()

    @property
    def ends(self) -> tuple[float, float]:
        """The axis' limits: the range, with room at either end."""
        if self.choices:
            return -0.5, len(self.choices) - 0.5
        if self.low == self.high:
            return (self.low / 2, self.high * 2) if self.is_log else (self.low - 0.5, self.high + 0.5)
        if self.is_log:
            ratio = (self.high / self.low) ** PAD
            return self.low / ratio, self.high * ratio
        room = PAD * (self.high - self.low)
        return self.low - room, self.high + room


def scale_along(axis: Axis, scale: Scale, inches: float) -> None:
    """Scale, limits and ticks of a parameter along ``inches`` of an axis."""
    is_across = isinstance(axis, XAxis)
    axes = axis.axes
    (axes.set_xscale if is_across else axes.set_yscale)("log" if scale.is_log else "linear")
    (axes.set_xlim if is_across else axes.set_ylim)(*scale.ends)
    if scale.choices:
        if is_across:  # letters beside each other: as many as the place of a choice holds
            room = inches * 72 / len(scale.choices) / (WIDE_DIGIT * TICK_SIZE)
            label_ticks(axis, scale.choices, inches, most=max(3, int(room)), rotation=0)
            if room < 3:
                axis.set_ticks(axis.get_ticklocs()[:: int(-(-3 // max(room, 0.2)))])
        else:
            label_ticks(axis, scale.choices, inches, most=10)
    elif scale.is_log:
        axis.set_minor_locator(NullLocator())
        log_ticks(axis, *scale.ends)
    else:
        axis.set_major_locator(MaxNLocator(max(2, int(inches / 0.5)), steps=[1, 2, 2.5, 5, 10]))
        plain_ticks(axis, scale.high)


def dark_is_better() -> Colormap:
    """Colours from the best (0, dark) to the worst (1, light but still seen on white)."""
    colours = matplotlib.colormaps[SEQUENTIAL]
    return ListedColormap([colours(0.92 * place / 255) for place in range(256)])


def value_ticks(axis: Axis) -> None:
    """Numbers of an axis of values, which may have diverged."""
    highest = max(abs(limit) for limit in axis.get_view_interval())
    if highest >= LARGE:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    else:
        plain_ticks(axis, highest)


def trial_numbers(axis: Axis) -> None:
    """Whole numbers of trials."""
    axis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
