"""Which pairs of parameters worked well together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing import style
from bert_ft.drawing.trials import ON_END, STAR, Scale, dark_is_better, rank_bar, scale_along, stands_on_end

PANEL = 2.0  # inches


def draw_rank_pairs(scales: Sequence[Scale], places: NDArray, ranks: NDArray, title: str) -> Figure:
    """Draw a panel for each pair of two to five parameters, one point per trial, better ones darker.

    Args:
        scales: axes of the parameters.
        places: positions ``(trials, parameters)``; NaN if a trial lacks the parameter.
        ranks: ``(trials,)``, from 0 for the best to 1 for the worst.
        title: title above the picture.
    """
    size = len(scales) - 1
    inches = 7.0 / size
    room = ON_END * any(stands_on_end(scale, inches) for scale in scales[:-1])
    figure = style.new_figure((0.6 + PANEL * size if size > 1 else 3.6) + room)
    grid = figure.subplots(size, size, squeeze=False)
    order = np.argsort(-ranks)  # the best in front
    points = None
    for row in range(size):
        for column in range(size):
            axes = grid[row, column]
            if column > row:
                axes.set_visible(False)
                continue
            across, up = scales[column], scales[row + 1]
            x_name = style.one_line(across.name, 26) if row == size - 1 else ""
            style.dress(axes, x=x_name, y=style.one_line(up.name, 24) if column == 0 else "")
            x, y = places[order, column], places[order, row + 1]
            # points of the same choice are spread, or they would cover each other
            x, y = x + _spread(across, len(x), seed=0), y + _spread(up, len(x), seed=1)
            look: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": dark_is_better(), "edgecolors": "white"}
            points = axes.scatter(x, y, c=ranks[order], s=18, linewidths=0.4, **look)
            best = int(np.argmin(ranks[order]))
            if np.isfinite(x[best] + y[best]):
                axes.plot(x[best], y[best], linestyle="none", **STAR)
            scale_along(axes.xaxis, across, inches)
            scale_along(axes.yaxis, up, PANEL)
            axes.tick_params(labelbottom=row == size - 1, labelleft=column == 0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=style.TITLE_SIZE)
    assert points is not None
    rank_bar(figure, points, ax=grid, aspect=22, pad=0.015, shrink=0.8 if size > 1 else 1)
    return figure


def _spread(scale: Scale, count: int, seed: int) -> NDArray[np.float64]:
    """Return offsets of the points of a choice; zeros for a number."""
    if not scale.choices:
        return np.zeros(count)
    return np.random.default_rng(seed).uniform(-0.18, 0.18, count)
