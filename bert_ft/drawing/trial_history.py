"""The values of a search's trials in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_ft.drawing.style import COLOURS, dress, legend_beside, new_figure, one_line
from bert_ft.drawing.trials import MARKS, STAR, trial_numbers, value_ticks

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class History:
    """One objective.

    Attributes:
        title: what is seen.
        y: the objective's name.
        complete: number and value of each complete trial, by the numbers.
        best: number and best value up to then, likewise.
        pruned: number and last reported value.
        failed: numbers.
        limits: of the y axis, where points beyond them stand; ``None``: those of the values.
    """

    title: str
    y: str
    complete: Points
    best: Points
    pruned: Points = ()
    failed: Sequence[int] = ()
    limits: tuple[float, float] | None = None


def draw_history(panels: Sequence[History]) -> Figure:
    """The panels below each other, over the same trials."""
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
        line: dict[str, Any] = {"color": COLOURS[1], "linewidth": 1.7, "drawstyle": "steps-post"}
        axes.plot(numbers, values, label="best so far", zorder=2, **line)
    for name, points in (("complete", panel.complete), ("pruned", panel.pruned)):
        if points:
            numbers, values = zip(*points, strict=True)
            if panel.limits is not None:
                values = np.clip(values, *_within(panel.limits))
            label = name if name == "complete" else "pruned, at its last report"
            axes.plot(numbers, values, linestyle="none", label=label, zorder=3, **MARKS[name])
    if panel.best:
        place = next(place for place, (_, value) in enumerate(panel.best) if value == panel.best[-1][1])
        axes.plot(*zip(panel.best[place], strict=True), linestyle="none", label="the best", zorder=5, **STAR)
    if panel.limits is not None:
        axes.set_ylim(*panel.limits)
    if panel.failed:
        # on the lower border, where no value is
        there = axes.get_xaxis_transform()
        zeros = [0.02] * len(panel.failed)
        axes.plot(
            panel.failed,
            zeros,
            linestyle="none",
            label="failed",
            transform=there,
            zorder=4,
            **MARKS["failed"],
        )
    trial_numbers(axes.xaxis)
    value_ticks(axes.yaxis)
    legend_beside(axes)


def _within(limits: tuple[float, float]) -> tuple[float, float]:
    """So far from the border that a point at it is seen whole."""
    room = 0.03 * (limits[1] - limits[0])
    return limits[0] + room, limits[1] - room
