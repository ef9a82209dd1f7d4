"""The values of a search's trials in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_ft.drawing.style import COLORS, dress, legend_beside, new_figure, one_line
from bert_ft.drawing.trials import MARKS, STAR, trial_numbers, value_ticks

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class History:
    """One objective."""

    title: str
    y: str  # name of the objective
    complete: Points  # number and value, by number
    best: Points  # number and best value so far, by number
    pruned: Points = ()  # number and last reported value
    failed: Sequence[int] = ()  # numbers
    limits: tuple[float, float] | None = None  # of the y axis, at whose border points beyond are drawn


def draw_history(panels: Sequence[History]) -> Figure:
    """Draw the panels below each other, over the same trials."""
    figure = new_figure(0.4 + 2.9 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw(axes, panel)
        axes.set_xlabel("trial" if panel is panels[-1] else "", fontsize=axes.yaxis.label.get_fontsize())
    return figure


def _draw(axes: Axes, panel: History) -> None:
    dress(axes, title=panel.title, y=one_line(panel.y))
    axes.set_ymargin(0.12)
    if panel.best:
        numbers, values = zip(*panel.best, strict=True)
        line: dict[str, Any] = {"color": COLORS[1], "linewidth": 1.7, "drawstyle": "steps-post"}
        axes.plot(numbers, values, label="best so far", zorder=2, **line)
    for name, points in (("complete", panel.complete), ("pruned", panel.pruned)):
        if points:
            numbers, values = zip(*points, strict=True)
            if panel.limits is not None:
                low, high = panel.limits
                room = 0.03 * (high - low)  # in which a point is fully visible
                values = np.clip(values, low + room, high - room)
            label = name if name == "complete" else "pruned, at its last report"
            axes.plot(numbers, values, linestyle="none", label=label, zorder=3, **MARKS[name])
    if panel.best:
        place = next(place for place, (_, value) in enumerate(panel.best) if value == panel.best[-1][1])
        axes.plot(*zip(panel.best[place], strict=True), linestyle="none", label="the best", zorder=5, **STAR)
    if panel.limits is not None:
        axes.set_ylim(*panel.limits)
    if panel.failed:
        # on the lower border, where no value is
        look: dict[str, Any] = {"linestyle": "none", "transform": axes.get_xaxis_transform(), "zorder": 4}
        axes.plot(panel.failed, [0.02] * len(panel.failed), label="failed", **look, **MARKS["failed"])
    trial_numbers(axes.xaxis)
    value_ticks(axes.yaxis)
    legend_beside(axes)
