"""The objective over each single parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing import style
from bert_ft.drawing.style import dress, new_figure, one_line
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
    """The trials that have one parameter."""

    scale: Scale
    places: NDArray  # (n,), on the scale
    values: NDArray  # (n,), of the objective
    numbers: NDArray  # (n,), of the trials


def draw_slices(
    slices: Sequence[Slice], y: str, title: str, best: int, limits: tuple[float, float] | None = None
) -> Figure:
    """Draw a panel for each of at least one parameter; points of later trials are darker.

    ``best`` is the number of the best trial, and ``y`` the name of the objective.
    """
    columns = min(COLUMNS, len(slices))
    rows = -(-len(slices) // columns)
    inches = PANELS / columns
    is_high = [stands_on_end(each.scale, inches) for each in slices]
    num_high = sum(any(is_high[start : start + columns]) for start in range(0, len(slices), columns))
    figure = new_figure(0.5 + HEIGHT * rows + ON_END * num_high)
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
        scale_along(axes.xaxis, each.scale, inches)
        axes.set_ymargin(0.12)
    if limits is not None:
        grid[0, 0].set_ylim(*limits)
    value_ticks(grid[0, 0].yaxis)
    for axes in grid.flat[len(slices) :]:
        axes.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=style.TITLE_SIZE)
    assert points is not None
    shrink = min(1.0, 2.6 / (HEIGHT * rows) + 0.2)
    label = "trial (dark: late)"
    bar = style.color_bar(figure, points, label, ax=grid, aspect=22, pad=0.015, shrink=shrink)
    trial_numbers(bar.yaxis)
    return figure
