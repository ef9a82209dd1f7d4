"""Where the rows lie in the space that the head sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import COLOURS, INK, MARKERS, NOTHING, dress, legend_beside, new_figure, plain

MAX_NAMED = 7  # classes with a colour and a marker of their own
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
    size = 26 if len(points) <= 500 else 12
    others = ~np.isin(labels, named)
    if others.any():
        name = f"{present - len(named)} other labels"
        axes.scatter(*points[others].T, s=size * 0.7, color=NOTHING, label=name, linewidths=0)
    for place, index in enumerate(named):
        look: dict[str, Any] = {"color": COLOURS[place], "marker": MARKERS[place], "edgecolors": "white"}
        name = plain(str(names[index]))
        axes.scatter(*points[labels == index].T, s=size, linewidths=0.3, label=name, **look)
    if is_wrong.any():
        label = f"predicted wrongly ({np.count_nonzero(is_wrong):,})"
        for colour, width, name in (("white", 3.0, "_nolegend_"), (INK, 1.3, label)):  # a white rim
            cross: dict[str, Any] = {"marker": "x", "color": colour, "linewidths": width}
            axes.scatter(*points[is_wrong].T, s=2.2 * size, label=name, **cross)
    x, y = (
        f"principal component {number} ({100 * share:.0f}% of the variance)"
        for number, share in enumerate(explained, 1)
    )
    dress(axes, title=title, x=x, y=y)
    legend_beside(axes, title=f"each {every}th row" if every > 1 else None, title_fontsize=8)
    return figure
