"""A picture of the head's input vectors, projected to a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing import style

MAX_NAMED = 10  # classes with their own marker; colors repeat
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "p", ">", "*")  # none that resembles a cross
HUES = style.COLORS[:6]  # without black and gray
MAX_LARGE_CROSSES = 150
LARGE, SMALL = 26.0, 14.0  # square points, of a point among few and among many
MAX_POINTS = 4000  # more would be one blot


def draw_plane(
    points: NDArray, labels: NDArray, is_wrong: NDArray, names: Sequence[str], explained: NDArray, title: str
) -> Figure:
    """Draw rows in a plane, colored by their label; wrongly predicted ones are crossed out.

    Of many classes only the largest have a color, and the others are gray; of many rows each n-th is drawn.

    Args:
        points: ``(rows, 2)``.
        labels: ``(rows,)``.
        is_wrong: ``(rows,)``.
        names: ``(classes,)``.
        explained: ``(2,)``, share of the variance along each axis.
        title: title above the picture.
    """
    figure = style.new_figure(5.4)
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
        axes.scatter(across[others], up[others], s=0.5 * size, color=style.NOTHING, linewidths=0, label=name)
    for place, index in enumerate(named):
        own, name = labels == index, style.one_line(str(names[index]))
        look: dict[str, Any] = {"color": HUES[place % len(HUES)], "marker": MARKERS[place]}
        axes.scatter(across[own], up[own], s=size, linewidths=0.3, edgecolors="white", label=name, **look)
    if is_wrong.any():
        _cross_out(axes, across[is_wrong], up[is_wrong], size)
    x, y = (
        f"principal component {number} ({100 * share:.0f}% of the variance)"
        for number, share in enumerate(explained, 1)
    )
    style.dress(axes, title=title, x=x, y=y)
    heading = f"each {every}th row" if every > 1 else None
    style.legend_beside(
        axes, title=heading, title_fontsize=style.TICK_SIZE, markerscale=(LARGE / size) ** 0.5
    )
    return figure


def _cross_out(axes: Axes, across: NDArray, up: NDArray, size: float) -> None:
    """Draw crosses with a white rim, or small ones without if there are many, so that the points stay visible."""
    name = f"predicted wrongly ({len(up):,})"
    if len(up) <= MAX_LARGE_CROSSES:
        axes.scatter(across, up, s=2.2 * size, marker="x", color="white", linewidths=3.0)
        axes.scatter(across, up, s=2.2 * size, marker="x", color=style.INK, linewidths=1.3, label=name)
    else:
        axes.scatter(across, up, s=0.7 * size, marker="x", color=style.INK, linewidths=0.6, label=name)
