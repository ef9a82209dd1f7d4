"""Which pairs of parameters went well together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import LABEL_SIZE, TICK_SIZE, TITLE_SIZE, dress, new_figure, one_line
from bert_ft.drawing.trials import ON_END, STAR, Scale, dark_is_better, scale_along, stands_on_end

PANEL = 2.0  # inches


def draw_rank_pairs(scales: Sequence[Scale], places: NDArray, ranks: NDArray, title: str) -> Figure:
    """Each pair of parameters below the diagonal, a point a trial, the darker the better.

    Args:
        scales: of two to five parameters.
        places: ``(trials, parameters)``; NaN where a trial hasn't the parameter.
        ranks: ``(trials,)``, from 0 for the best to 1 for the worst.
        title: what is seen.
    """
    size = len(scales) - 1
    inches = 7.0 / size
    room = ON_END * any(stands_on_end(scale, inches) for scale in scales[:-1])
    figure = new_figure((0.6 + PANEL * size if size > 1 else 3.6) + room)
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
            dress(
                axes,
                x=one_line(across.name, 26) if row == size - 1 else "",
                y=one_line(up.name, 24) if column == 0 else "",
            )
            x, y = places[order, column], places[order, row + 1]
            spread = _spread(across, len(x)), _spread(up, len(x), 1)  # choices would lie on each other
            points = axes.scatter(
                x + spread[0], y + spread[1], c=ranks[order], s=18, vmin=0, vmax=1, cmap=dark_is_better(),
                linewidths=0.4, edgecolors="white",
            )  # fmt: skip
            best = int(np.argmin(ranks[order]))
            if np.isfinite(x[best] + y[best]):
                axes.plot(x[best] + spread[0][best], y[best] + spread[1][best], linestyle="none", **STAR)
            scale_along(axes.xaxis, across, inches)
            scale_along(axes.yaxis, up, PANEL)
            if row < size - 1:
                axes.tick_params(labelbottom=False)
            if column > 0:
                axes.tick_params(labelleft=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=TITLE_SIZE)
    assert points is not None
    bar = figure.colorbar(
        points, ax=grid, aspect=22, pad=0.015, ticks=[0, 0.5, 1], shrink=0.8 if size > 1 else 1
    )
    bar.ax.set_yticklabels(["best", "median", "worst"], fontsize=TICK_SIZE)
    bar.ax.invert_yaxis()
    bar.set_label("rank of the trial", fontsize=LABEL_SIZE)
    return figure


def _spread(scale: Scale, count: int, seed: int = 0) -> NDArray[np.float64]:
    """What moves points of one choice apart; nothing for numbers."""
    if not scale.choices:
        return np.zeros(count)
    return np.random.default_rng(seed).uniform(-0.18, 0.18, count)
