"""Two objectives of a search against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import COLORS, dress, legend_beside, new_figure
from bert_ft.drawing.trials import MARKS, value_ticks


@dataclass(frozen=True)
class Front:
    """A pair of objectives."""

    x: str  # name of the first, and whether lower or higher is better
    y: str  # the same of the second
    values: NDArray  # (trials, 2)
    is_front: NDArray  # (trials,), whether no other trial beats it in all objectives of the study
    numbers: NDArray  # (trials,)


def draw_fronts(pairs: Sequence[Front], title: str) -> Figure:
    """Draw a panel for each pair, with the trials that no other beats highlighted, and joined if there is only one pair."""
    figure = new_figure(0.4 + 3.4 * len(pairs))
    grid = figure.subplots(len(pairs), 1, squeeze=False)
    for axes, pair in zip(grid[:, 0], pairs, strict=True):
        dress(axes, title=title if pair is pairs[0] else "", x=pair.x, y=pair.y)
        others = pair.values[~pair.is_front]
        axes.plot(*others.T, linestyle="none", label="complete", **MARKS["complete"])
        order = np.argsort(pair.values[pair.is_front, 0])
        best = pair.values[pair.is_front][order]
        look = {"marker": "D", "markersize": 6, "color": COLORS[5], "markeredgecolor": "white"}
        # the front of more than two objectives is a surface
        line = "--" if len(pairs) == 1 else "none"
        axes.plot(*best.T, linewidth=1, linestyle=line, label="none is better in all", **look)
        axes.margins(0.1)
        value_ticks(axes.xaxis)
        value_ticks(axes.yaxis)
        legend_beside(axes)
    return figure
