"""The objective over each parameter alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import LABEL_SIZE, TICK_SIZE, dress, new_figure, one_line
from bert_ft.drawing.trials import (
    ON_END,
    STAR,
    Scale,
    dark_is_better,
    scale_along,
    stands_on_end,
    trial_numbers,
    value_ticks,
)

COLUMNS = 3
PANELS = 6.6  # inches, width of the axes beside each other
HEIGHT = 2.3


@dataclass(frozen=True)
class Slice:
    """The trials that have one parameter.

    Attributes:
        scale: of the parameter.
        places: ``(n,)``, on it.
        values: ``(n,)``, of the objective.
        numbers: ``(n,)``, of the trials.
    """

    scale: Scale
    places: NDArray
    values: NDArray
    numbers: NDArray


def draw_slices(
    slices: Sequence[Slice], y: str, title: str, best: int, limits: tuple[float, float] | None = None
) -> Figure:
    """A panel for each parameter; a point is the lighter the earlier its trial was.

    Args:
        slices: at least one, with a point each.
        y: the objective's name.
        title: what is seen.
        best: number of the best trial.
        limits: of the objective's axis; ``None``: those of the values.
    """
    columns = min(COLUMNS, len(slices))
    rows = -(-len(slices) // columns)
    high = [
        any(
            stands_on_end(each.scale, PANELS / columns)
            for each in slices[row * columns : (row + 1) * columns]
        )
        for row in range(rows)
    ]
    figure = new_figure(0.5 + HEIGHT * rows + ON_END * sum(high))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    numbers = np.concatenate([each.numbers for each in slices])
    norm = Normalize(numbers.min(), max(numbers.max(), numbers.min() + 1))
    points = None
    for axes, each in zip(grid.flat, slices, strict=False):
        dress(axes, x=one_line(each.scale.name, 34), y=one_line(y) if axes in grid[:, 0] else "")
        look = {"c": each.numbers, "norm": norm, "cmap": dark_is_better().reversed()}
        points = axes.scatter(each.places, each.values, s=20, linewidths=0.4, edgecolors="white", **look)
        chosen = each.numbers == best
        axes.plot(each.places[chosen], each.values[chosen], linestyle="none", zorder=5, **STAR)
        scale_along(axes.xaxis, each.scale, PANELS / columns)
        axes.set_ymargin(0.12)
    if limits is not None:
        grid[0, 0].set_ylim(*limits)
    value_ticks(grid[0, 0].yaxis)
    for axes in grid.flat[len(slices) :]:
        axes.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    assert points is not None
    bar = figure.colorbar(points, ax=grid, aspect=22, pad=0.015, shrink=min(1.0, 2.6 / (HEIGHT * rows) + 0.2))
    bar.set_label("trial (dark: late)", fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    trial_numbers(bar.ax.yaxis)
    return figure
