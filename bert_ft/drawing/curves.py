"""Curves over the optimizer steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    SEQUENTIAL,
    dress,
    legend_beside,
    log_ticks,
    new_figure,
    one_line,
    plain_ticks,
    steps_along,
)

MAX_MARKED = 40  # points of a line that get a marker each
MAX_LABELLED = 9  # lines in a legend, where they are coloured by depth
PANEL_HEIGHT = 2.9  # inches
STEPS = "optimizer steps"


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: in the legend.
        steps: ``(n,)``.
        values: ``(n,)``; a gap where a value isn't finite.
        is_faint: drawn as the background of another line: the readings that a smoothed one is made of.
        depth: place in the network, from 0 (the embeddings) to 1 (the top): colours the line in order.
    """

    name: str
    steps: NDArray
    values: NDArray
    is_faint: bool = False
    depth: float | None = None


@dataclass(frozen=True)
class Panel:
    """Axes with curves.

    Attributes:
        title: what is seen.
        y: what the curves measure, with its unit.
        lines: in the order of the legend.
        is_log: whether the y axis is logarithmic; values of 0 and less are then left out.
        threshold: value and name of a horizontal line.
        marked: step, value and name of one point.
        from_zero: whether the y axis begins at 0.
    """

    title: str
    y: str
    lines: Sequence[Line]
    is_log: bool = False
    threshold: tuple[float, str] | None = None
    marked: tuple[int, float, str] | None = None
    from_zero: bool = False


def draw_curves(panels: Sequence[Panel]) -> Figure:
    """The panels below each other, over the same steps."""
    figure = new_figure(PANEL_HEIGHT if len(panels) == 1 else 0.3 + 2.3 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw_panel(axes, panel, is_lowest=panel is panels[-1])
    return figure


def _draw_panel(axes: Axes, panel: Panel, is_lowest: bool) -> None:
    dress(axes, title=panel.title, x=STEPS if is_lowest else "", y=panel.y)
    labelled = _labelled(panel.lines)
    place = 0
    for line in panel.lines:
        name = one_line(line.name, 30) if line.name in labelled else "_nolegend_"
        values = np.where(line.values > 0, line.values, np.nan) if panel.is_log else line.values
        axes.plot(line.steps, values, label=name, **_look(line, place))
        place += not line.is_faint
    steps_along(axes.xaxis)
    shown = np.concatenate([line.values[np.isfinite(line.values)] for line in panel.lines])
    if panel.is_log:
        axes.set_yscale("log")
        shown = shown[shown > 0]
        log_ticks(axes.yaxis, shown.min(initial=np.inf), shown.max(initial=0))
    else:
        plain_ticks(axes.yaxis, shown.max(initial=0))
    if panel.threshold is not None:
        value, name = panel.threshold
        axes.axhline(value, color=INK, linewidth=1, linestyle=":", label=name)
    if panel.marked is not None:
        step, value, name = panel.marked
        look: dict[str, Any] = {"marker": "*", "markersize": 13, "linestyle": "none", "zorder": 5}
        axes.plot([step], [value], color=INK, markerfacecolor="#f0e442", label=name, **look)
    axes.margins(y=0.1)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    if len(axes.get_lines()) > 1:
        legend_beside(axes)


def _look(line: Line, place: int) -> dict[str, Any]:
    if line.is_faint:
        # light grey: the smoothed line in front of it has to be seen in grey print as well
        return {"color": "#b9c6d0", "linewidth": 0.8, "zorder": 1}
    if line.depth is not None:
        colour = matplotlib.colormaps[SEQUENTIAL](
            0.92 * line.depth
        )  # its end is too light for a line on white
        look: dict[str, Any] = {"color": colour, "linewidth": 1.4}
    else:
        look = {
            "color": COLOURS[place % len(COLOURS)],
            "linewidth": 1.7,
            "linestyle": DASHES[place % len(DASHES)],
        }
    if len(line.steps) <= MAX_MARKED:
        look |= {"marker": MARKERS[place % len(MARKERS)] if line.depth is None else ".", "markersize": 4.5}
    return look


def _labelled(lines: Sequence[Line]) -> set[str]:
    """The names in the legend: all, or of many that are coloured by depth some at even distances and the ends."""
    if len(lines) <= MAX_LABELLED or any(line.depth is None for line in lines):
        return {line.name for line in lines}
    places = np.linspace(0, len(lines) - 1, MAX_LABELLED).round().astype(int)
    return {lines[place].name for place in places}
