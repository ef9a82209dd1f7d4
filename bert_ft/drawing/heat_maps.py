"""Maps of one statistic: layers over steps, a color for each value."""

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

from bert_ft.drawing import style

LOG_SPAN = 1e6  # ratio of the largest value to the smallest that has a color of its own
ROW_INCHES = (0.115, 0.26)  # heights of a row among many and among few


@dataclass(frozen=True)
class HeatMap:
    """One grid of values."""

    title: str
    rows: Sequence[str]  # from the bottom up
    steps: NDArray  # (columns,), rising
    values: NDArray  # (rows, columns); non-finite ones are hatched, on a logarithmic scale also those of at most 0
    y: str = "layer"  # name of the vertical axis


def draw_heat_maps(
    maps: Sequence[HeatMap], color: str, *, is_log: bool = False, limits: tuple[float, float] | None = None
) -> Figure:
    """Draw at least one map, two to a row, with the same color scale.

    Args:
        maps: one or more maps.
        color: name and unit of the values.
        is_log: whether the scale is logarithmic.
        limits: limits of the scale; ``None`` = the limits of the values, but from 0 unless ``is_log``.
    """
    columns = min(2, len(maps))
    lines = [maps[start : start + columns] for start in range(0, len(maps), columns)]
    small, large = ROW_INCHES
    most_rows = [max(len(each.rows) for each in line) for line in lines]
    heights = [min(max(0.9, large * rows), max(2.2, small * rows), 6.0) for rows in most_rows]
    figure = style.new_figure(0.5 + sum(heights) + 0.55 * len(lines))
    grid = figure.subplots(len(lines), columns, squeeze=False, sharex=True, height_ratios=heights)
    norm = scale([each.values for each in maps], is_log=is_log, limits=limits)
    for line, row, height in zip(lines, grid, heights, strict=True):
        for axes, each in zip(row, line, strict=False):
            mesh = _draw(axes, each, norm, height)
            axes.set_ylabel(each.y if axes is row[0] else "", fontsize=style.LABEL_SIZE)
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    for place in range(columns):  # the steps below the lowest map of each column
        lowest = grid.flat[max(index for index in range(len(maps)) if index % columns == place)]
        style.steps_along(lowest.xaxis)
        lowest.set_xlabel("optimizer steps", fontsize=style.LABEL_SIZE)
        lowest.tick_params(labelbottom=True)
    shrink = min(1.0, 2.6 / sum(heights))
    bar = style.color_bar(figure, mesh, color, ax=grid, shrink=shrink, aspect=22, pad=0.015)
    if is_log:
        style.log_ticks(bar.yaxis, *mesh.get_clim())
    return figure


def scale(values: Sequence[NDArray], *, is_log: bool, limits: tuple[float, float] | None = None) -> Normalize:
    """Return the common color scale of all the arrays."""
    flat = np.concatenate([np.ravel(each) for each in values])
    shown = flat[np.isfinite(flat) & ((flat > 0) if is_log else True)]
    if is_log:
        high = limits[1] if limits else float(shown.max(initial=0)) or 1.0
        low = limits[0] if limits else max(float(shown.min(initial=high)), high / LOG_SPAN)
        return LogNorm(low if low < high else high / 2, high)
    low, high = limits or (min(0.0, float(shown.min(initial=0))), float(shown.max(initial=0)))
    return Normalize(low, high if high > low else low + 1)


def edges_of(steps: NDArray) -> NDArray[np.float64]:
    """Return ``(n + 1,)`` borders of columns around ``(n,)`` steps, halfway between neighbors, none below 0."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    between = (steps[1:] + steps[:-1]) / 2
    first, last = 2 * steps[0] - between[0], 2 * steps[-1] - between[-1]
    return np.concatenate([[max(first, min(0.0, steps[0] - 0.5))], between, [last]])


def _draw(axes: Axes, each: HeatMap, norm: Normalize, height: float) -> QuadMesh:
    style.dress(axes, title=each.title, grid=False)
    style.show_nothing(axes.patch)
    values = np.ma.masked_invalid(each.values)
    if isinstance(norm, LogNorm):
        values = np.ma.masked_less_equal(values, 0)
    rows = np.arange(len(each.rows) + 1) - 0.5
    mesh = axes.pcolormesh(
        edges_of(each.steps), rows, values, norm=norm, cmap=matplotlib.colormaps[style.SEQUENTIAL]
    )
    style.label_ticks(axes.yaxis, each.rows, height)
    axes.tick_params(axis="y", length=2)
    return mesh
