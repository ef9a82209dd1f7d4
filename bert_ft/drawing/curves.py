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

from bert_ft.drawing import style

MAX_MARKED = 40  # points of a line with markers
MAX_LABELLED = 9  # lines in a legend, if they are colored by depth
PANEL_HEIGHT = 2.9  # inches


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str  # in the legend
    steps: NDArray  # (n,)
    values: NDArray  # (n,); non-finite ones leave a gap
    is_faint: bool = False  # whether it is only the background of another line
    depth: float | None = None  # place in the network, from 0 (embeddings) to 1 (top): colors the line


@dataclass(frozen=True)
class Panel:
    """Axes with curves."""

    title: str
    y: str  # what the curves measure, with its unit
    lines: Sequence[Line]  # in the order of the legend
    is_log: bool = False  # a logarithmic y axis leaves out values of at most 0
    threshold: tuple[float, str] | None = None  # value and name of a horizontal line
    marked: tuple[int, float, str] | None = None  # step, value and name of one point
    from_zero: bool = False  # whether the y axis starts at 0


def draw_curves(panels: Sequence[Panel]) -> Figure:
    """Draw the panels below each other, over the same steps."""
    figure = style.new_figure(PANEL_HEIGHT if len(panels) == 1 else 0.3 + 2.3 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw_panel(axes, panel, is_lowest=panel is panels[-1])
    return figure


def _draw_panel(axes: Axes, panel: Panel, is_lowest: bool) -> None:
    style.dress(axes, title=panel.title, x="optimizer steps" if is_lowest else "", y=panel.y)
    labelled = _labelled(panel.lines)
    place = 0
    for line in panel.lines:
        name = style.one_line(line.name, 30) if line.name in labelled else "_nolegend_"
        values = np.where(line.values > 0, line.values, np.nan) if panel.is_log else line.values
        axes.plot(line.steps, values, label=name, **_look(line, place))
        place += not line.is_faint
    style.steps_along(axes.xaxis)
    shown = np.concatenate([line.values[np.isfinite(line.values)] for line in panel.lines])
    if panel.is_log:
        axes.set_yscale("log")
        shown = shown[shown > 0]
        style.log_ticks(axes.yaxis, shown.min(initial=np.inf), shown.max(initial=0))
    else:
        style.plain_ticks(axes.yaxis, shown.max(initial=0))
    if panel.threshold is not None:
        value, name = panel.threshold
        axes.axhline(value, color=style.INK, linewidth=1, linestyle=":", label=name)
    if panel.marked is not None:
        step, value, name = panel.marked
        look: dict[str, Any] = {"marker": "*", "markersize": 13, "linestyle": "none", "zorder": 5}
        axes.plot([step], [value], color=style.INK, markerfacecolor="#f0e442", label=name, **look)
    axes.margins(y=0.1)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    if len(axes.get_lines()) > 1:
        style.legend_beside(axes)


def _look(line: Line, place: int) -> dict[str, Any]:
    if line.is_faint:
        # light, so that the smoothed line stands out in gray print too
        return {"color": "#b9c6d0", "linewidth": 0.8, "zorder": 1}
    if line.depth is not None:
        color = matplotlib.colormaps[style.SEQUENTIAL](0.92 * line.depth)  # its end is too light on white
        look: dict[str, Any] = {"color": color, "linewidth": 1.4}
    else:
        dashes = style.DASHES[place % len(style.DASHES)]
        look = {"color": style.COLORS[place % len(style.COLORS)], "linewidth": 1.7, "linestyle": dashes}
    if len(line.steps) <= MAX_MARKED:
        marker = style.MARKERS[place % len(style.MARKERS)] if line.depth is None else "."
        look |= {"marker": marker, "markersize": 4.5}
    return look


def _labelled(lines: Sequence[Line]) -> set[str]:
    """Return the names in the legend: all of them or, for many lines colored by depth, some evenly spaced ones."""
    if len(lines) <= MAX_LABELLED or any(line.depth is None for line in lines):
        return {line.name for line in lines}
    places = np.linspace(0, len(lines) - 1, MAX_LABELLED).round().astype(int)
    return {lines[place].name for place in places}
