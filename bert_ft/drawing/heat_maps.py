"""Maps of one statistic: layers over steps, a colour for each value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import (
    LABEL_SIZE,
    SEQUENTIAL,
    TICK_SIZE,
    dress,
    label_ticks,
    log_ticks,
    new_figure,
    show_nothing,
    steps_along,
)

LOG_SPAN = 1e6  # the smallest value that still has a colour of its own, below the largest
ROW_INCHES = (0.115, 0.26)  # heights of a row, where there are many and where there are few


@dataclass(frozen=True)
class HeatMap:
    """One grid of values.

    Attributes:
        title: what is seen.
        rows: names, from the bottom up.
        steps: ``(columns,)``, rising.
        values: ``(rows, columns)``; hatched where a value isn't finite, or not above 0 on a logarithmic scale.
        y: what the rows are.
    """

    title: str
    rows: Sequence[str]
    steps: NDArray
    values: NDArray
    y: str = "layer"


def draw_heat_maps(
    maps: Sequence[HeatMap],
    colour: str,
    *,
    is_log: bool = False,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """The maps with one scale for all, two beside each other if there are several.

    Args:
        maps: at least one.
        colour: what the colours measure, with its unit.
        is_log: whether equal distances on the scale are equal ratios.
        limits: of the scale; ``None``: the values', from 0 unless ``is_log``.
    """
    columns = min(2, len(maps))
    lines = [maps[start : start + columns] for start in range(0, len(maps), columns)]
    heights = [max(_height(len(each.rows)) for each in line) for line in lines]
    figure = new_figure(0.5 + sum(heights) + 0.55 * len(lines))
    grid = figure.subplots(len(lines), columns, squeeze=False, sharex=True, height_ratios=heights)
    norm = scale([each.values for each in maps], is_log=is_log, limits=limits)
    for line, row, height in zip(lines, grid, heights, strict=True):
        for axes, each in zip(row, line, strict=False):
            mesh = _draw(axes, each, norm, height)
            axes.set_ylabel(each.y if axes is row[0] else "", fontsize=LABEL_SIZE)
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    for place in range(columns):  # the steps below the lowest map of each column
        lowest = grid.flat[max(index for index in range(len(maps)) if index % columns == place)]
        steps_along(lowest.xaxis)
        lowest.set_xlabel("optimizer steps", fontsize=LABEL_SIZE)
        lowest.tick_params(labelbottom=True)
    bar = figure.colorbar(mesh, ax=grid, shrink=min(1.0, 2.6 / sum(heights)), aspect=22, pad=0.015)
    bar.set_label(colour, fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    if is_log:
        log_ticks(bar.ax.yaxis, *mesh.get_clim())
    return figure


def scale(values: Sequence[NDArray], *, is_log: bool, limits: tuple[float, float] | None = None) -> Normalize:
    """What gives each value its place between the two ends of the colours, the same for all of the arrays."""
    flat = np.concatenate([np.ravel(each) for each in values])
    shown = flat[np.isfinite(flat) & ((flat > 0) if is_log else True)]
    if is_log:
        high = limits[1] if limits else float(shown.max(initial=0)) or 1.0
        low = limits[0] if limits else max(float(shown.min(initial=high)), high / LOG_SPAN)
        return LogNorm(low if low < high else high / 2, high)
    low, high = limits or (min(0.0, float(shown.min(initial=0))), float(shown.max(initial=0)))
    return Normalize(low, high if high > low else low + 1)


def edges_of(steps: NDArray) -> NDArray[np.float64]:
    """The borders of columns around ``steps`` ``(n,)``, half-way between neighbours and none below 0 → ``(n + 1,)``."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    between = (steps[1:] + steps[:-1]) / 2
    first, last = 2 * steps[0] - between[0], 2 * steps[-1] - between[-1]
    return np.concatenate([[max(first, min(0.0, steps[0] - 0.5))], between, [last]])


def _height(num_rows: int) -> float:
    small, large = ROW_INCHES
    return min(max(0.9, large * num_rows), max(2.2, small * num_rows), 6.0)


def _draw(axes: Axes, each: HeatMap, norm: Normalize, height: float) -> QuadMesh:
    dress(axes, title=each.title, grid=False)
    show_nothing(axes.patch)
    values = np.ma.masked_invalid(each.values)
    if isinstance(norm, LogNorm):
        values = np.ma.masked_less_equal(values, 0)
    rows = np.arange(len(each.rows) + 1) - 0.5
    mesh = axes.pcolormesh(
        edges_of(each.steps), rows, values, norm=norm, cmap=matplotlib.colormaps[SEQUENTIAL]
    )
    label_ticks(axes.yaxis, each.rows, height)
    axes.tick_params(axis="y", length=2)
    return mesh
