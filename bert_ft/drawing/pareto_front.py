"""Two objectives of a search against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import COLOURS, dress, legend_beside, new_figure
from bert_ft.drawing.trials import MARKS, value_ticks


@dataclass(frozen=True)
class Front:
    """A pair of objectives.

    Attributes:
        x: name of the one, with what is better.
        y: of the other.
        values: ``(trials, 2)``.
        is_front: ``(trials,)``, whether no trial beats it in all objectives of the study.
        numbers: ``(trials,)``.
    """

    x: str
    y: str
    values: NDArray
    is_front: NDArray
    numbers: NDArray


def draw_fronts(pairs: Sequence[Front], title: str) -> Figure:
    """A panel for each pair; the trials that none beats stand out, joined where there are two objectives."""
    figure = new_figure(0.4 + 3.4 * len(pairs))
    grid = figure.subplots(len(pairs), 1, squeeze=False)
    for axes, pair in zip(grid[:, 0], pairs, strict=True):
        dress(axes, title=title if pair is pairs[0] else "", x=pair.x, y=pair.y)
        others = pair.values[~pair.is_front]
        axes.plot(*others.T, linestyle="none", label="complete", **MARKS["complete"])
        order = np.argsort(pair.values[pair.is_front, 0])
        best = pair.values[pair.is_front][order]
        look = {"marker": "D", "markersize": 6, "color": COLOURS[5], "markeredgecolor": "white"}
        # of more than two objectives it is a surface, through which no line goes
        line = "--" if len(pairs) == 1 else "none"
        axes.plot(*best.T, linewidth=1, linestyle=line, label="none is better in all", **look)
        axes.margins(0.1)
        value_ticks(axes.xaxis)
        value_ticks(axes.yaxis)
        legend_beside(axes)
    return figure
