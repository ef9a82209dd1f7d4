"""Where the rows lie in the space that the head sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import (
    COLOURS,
    INK,
    NOTHING,
    TICK_SIZE,
    dress,
    legend_beside,
    new_figure,
    one_line,
)

MAX_NAMED = 10  # classes with a marker of their own; colours come back
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "p", ">", "*")  # none that is like a cross
HUES = COLOURS[:6]  # without black and grey
MAX_LARGE_CROSSES = 150
LARGE, SMALL = 26.0, 14.0  # square points, of a point among few and among many
MAX_POINTS = 4000  # more would be one blot


def draw_plane(
    points: NDArray,
    labels: NDArray,
    is_wrong: NDArray,
    names: Sequence[str],
    explained: NDArray,
    title: str,
) -> Figure:
    """Rows in a plane, coloured by their label; those that were predicted wrongly have a cross on them.

    Of many classes those with most rows have a colour, the others are grey; of many rows each n-th is drawn.

    Args:
        points: ``(rows, 2)``.
        labels: ``(rows,)``.
        is_wrong: ``(rows,)``.
        names: ``(classes,)``.
        explained: ``(2,)``, share of the variance along each axis.
        title: what is seen.
    """
    figure = new_figure(5.4)
    axes = figure.subplots()
    every = -(-len(points) // MAX_POINTS)
    points, labels, is_wrong = points[::every], labels[::every], is_wrong[::every]
    counts = np.bincount(labels, minlength=len(names))
    present = int(np.count_nonzero(counts))
    named = sorted(np.argsort(-counts, kind="stable")[: min(MAX_NAMED, present)])
    size = LARGE if len(points) <= 500 else SMALL
    across, up = points.T
    others = ~np.isin(labels, named)
    if others.any():
        name = f"{present - len(named)} other labels"
        axes.scatter(across[others], up[others], s=0.5 * size, color=NOTHING, linewidths=0, label=name)
    for place, index in enumerate(named):
        own, name = labels == index, one_line(str(names[index]))
        look: dict[str, Any] = {
            "color": HUES[place % len(HUES)],
            "marker": MARKERS[place],
            "edgecolors": "white",
        }
        axes.scatter(across[own], up[own], s=size, linewidths=0.3, label=name, **look)
    if is_wrong.any():
        _cross_out(axes, across[is_wrong], up[is_wrong], size)
    x, y = (
        f"principal component {number} ({100 * share:.0f}% of the variance)"
        for number, share in enumerate(explained, 1)
    )
    dress(axes, title=title, x=x, y=y)
    heading = f"each {every}th row" if every > 1 else None
    legend_beside(axes, title=heading, title_fontsize=TICK_SIZE, markerscale=(LARGE / size) ** 0.5)
    return figure


def _cross_out(axes: Axes, across: NDArray, up: NDArray, size: float) -> None:
    """Crosses with a white rim; of many, small ones without, so that the points can still be seen."""
    name = f"predicted wrongly ({len(up):,})"
    if len(up) <= MAX_LARGE_CROSSES:
        axes.scatter(across, up, s=2.2 * size, marker="x", color="white", linewidths=3.0)
        axes.scatter(across, up, s=2.2 * size, marker="x", color=INK, linewidths=1.3, label=name)
    else:
        axes.scatter(across, up, s=0.7 * size, marker="x", color=INK, linewidths=0.6, label=name)
