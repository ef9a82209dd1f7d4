"""Common parts of a search's pictures: the look of a trial by its state, and the axis of a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axis import Axis, XAxis
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bert_ft.drawing import style

# states differ in shape and lightness, so that gray print keeps them apart
MARKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": style.COLORS[0], "markersize": 4.5, "markeredgewidth": 0},
    "pruned": {"marker": "x", "color": style.COLORS[5], "markersize": 5, "markeredgewidth": 1.3},
    "failed": {"marker": "|", "color": "#000000", "markersize": 8, "markeredgewidth": 1.6},
}
STAR: dict[str, Any] = {"marker": "*", "markersize": 13, "color": "#222222", "markerfacecolor": "#f0e442"}
MAX_CHOICE = 16  # characters of a choice
LEAST_CUT = 7  # characters of a choice that is shortened
ON_END = 0.8  # inches for vertical names
TICK_ROOM = 0.5  # inches for a number along an axis
PAD = 0.06  # of the range, free at either end
LARGE = 1e6  # above it numbers have exponents
WIDE_DIGIT = 0.62  # width, in sizes of the letters


@dataclass(frozen=True)
class Scale:
    """The axis of one parameter."""

    name: str
    low: float
    high: float
    is_log: bool = False
    choices: Sequence[str] = ()  # at 0, 1, 2, …; empty for a number

    @property
    def ends(self) -> tuple[float, float]:
        """Limits of the axis: the range, with room at either end."""
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
    """Set scale, limits and ticks for a parameter along ``inches`` of an axis."""
    is_across = isinstance(axis, XAxis)
    axes = axis.axes
    (axes.set_xscale if is_across else axes.set_yscale)("log" if scale.is_log else "linear")
    (axes.set_xlim if is_across else axes.set_ylim)(*scale.ends)
    if scale.choices:
        on_end = is_across and stands_on_end(scale, inches)
        most = MAX_CHOICE if on_end or not is_across else _room(scale, inches)
        style.label_ticks(axis, scale.choices, inches, most=most, rotation=90 if on_end else 0)
    elif scale.is_log:
        style.log_ticks(axis, *scale.ends)
        axis.set_minor_locator(NullLocator())
        most = max(2, int(inches / TICK_ROOM))
        decades = math.log10(scale.ends[1] / scale.ends[0])
        if decades > most:
            axis.set_major_locator(LogLocator(numticks=most))
        elif decades >= 1 and 3 * decades > most:  # no room for three ticks in each
            axis.set_major_locator(LogLocator(subs=(1.0,)))
    else:
        axis.set_major_locator(MaxNLocator(max(2, int(inches / TICK_ROOM)), steps=[1, 2, 2.5, 5, 10]))
        style.plain_ticks(axis, scale.high)


def stands_on_end(scale: Scale, inches: float) -> bool:
    """Return whether the names of the choices, even if shortened, don't fit side by side along ``inches``."""
    most = _room(scale, inches)
    shown = {style.one_line(choice, most) for choice in scale.choices}
    is_cut = any(len(choice) > most for choice in scale.choices)
    return is_cut and (most < LEAST_CUT or len(shown) < len(scale.choices))


def _room(scale: Scale, inches: float) -> int:
    """Return how many characters of each choice's name fit side by side."""
    points = inches * 72 / max(len(scale.choices), 1)
    return min(MAX_CHOICE - 1, max(3, int(points / (WIDE_DIGIT * style.TICK_SIZE))))


def dark_is_better() -> Colormap:
    """Return colors from dark for the best (0) to light, but visible on white, for the worst (1)."""
    colors = matplotlib.colormaps[style.SEQUENTIAL]
    return ListedColormap([colors(0.92 * place / 255) for place in range(256)])


def rank_bar(figure: Figure, image: Any, **place: Any) -> None:
    """Draw the color scale of the trials' ranks."""
    names = ["best", "median", "worst"]
    bar = style.color_bar(figure, image, "rank of the trial", names=names, ticks=[0, 0.5, 1], **place)
    bar.invert_yaxis()


def value_ticks(axis: Axis) -> None:
    """Set tick numbers of an axis of values, which may have diverged."""
    highest = max(abs(limit) for limit in axis.get_view_interval())
    if highest >= LARGE:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    else:
        style.plain_ticks(axis, highest)


def trial_numbers(axis: Axis) -> None:
    """Set ticks at whole numbers of trials."""
    axis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
