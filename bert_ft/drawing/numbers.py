"""Predicted numbers against true ones."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing import style


def draw_predicted(true: NDArray, predicted: NDArray, title: str) -> Figure:
    """Draw a point for each row ``(rows,)``, and the diagonal on which predictions are right."""
    figure = style.new_figure(4.6)
    axes = figure.subplots()
    axes.scatter(true, predicted, **_points())
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, color=style.INK, linewidth=1, linestyle="--", label="predicted = true")
    style.dress(axes, title=title, x="true number", y="predicted number")
    style.legend_beside(axes)
    return figure


def draw_residuals(predicted: NDArray, residuals: NDArray, title: str) -> Figure:
    """Draw residuals ``(rows,)`` by predicted number, and beside it how they are distributed."""
    figure = style.new_figure(3.6)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    left.scatter(predicted, residuals, **_points())
    right.hist(residuals, bins=40, orientation="horizontal", color=style.COLORS[0])
    for axes in (left, right):
        axes.axhline(0, color=style.INK, linewidth=1, linestyle="--")
    style.dress(left, title=title, x="predicted number", y="predicted minus true")
    style.dress(right, x="rows")
    return figure


def _points() -> dict[str, Any]:
    return {"s": 12, "linewidths": 0, "alpha": 0.5, "color": style.COLORS[0]}
