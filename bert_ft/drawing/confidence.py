"""How sure the classifier was, whether rightly so, and what it took for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bert_ft.drawing.style import (
    FAINT_INK,
    INK,
    LABEL_SIZE,
    NOTHING,
    RIGHT,
    SEQUENTIAL,
    TICK_SIZE,
    WRONG,
    dress,
    label_ticks,
    legend_beside,
    new_figure,
)

NUM_BARS = 25
MAX_CELLS_WITH_COUNTS = 45  # classes: with more the numbers would be too small to read


def draw_top_probabilities(probabilities: NDArray, is_right: NDArray, num_classes: int, title: str) -> Figure:
    """Histograms of the top probability ``(rows,)``: rows that are right above, wrong ones below, each on its own scale."""
    figure = new_figure(3.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    edges = np.linspace(0, 1, NUM_BARS + 1)
    groups = ((upper, is_right, "right", RIGHT, ""), (lower, ~is_right, "wrong", WRONG, "////"))
    for axes, chosen, name, colour, hatch in groups:
        label = f"{name}: {np.count_nonzero(chosen):,} rows"
        bars: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.5, "hatch": hatch}
        axes.hist(probabilities[chosen], bins=edges, label=label, **bars)
        dress(axes, y="rows")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.axvline(
            1 / num_classes, color=INK, linewidth=1, linestyle=":", label=f"chance: 1 of {num_classes}"
        )
        axes.set_ylim(bottom=0, top=None if chosen.any() else 1)
        legend_beside(axes)
    dress(upper, title=title, y="rows")
    lower.set_xlim(0, 1)
    lower.set_xlabel("probability of the predicted class", fontsize=LABEL_SIZE)
    return figure


def draw_reliability(
    edges: NDArray, counts: NDArray, confidence: NDArray, accuracy: NDArray, title: str
) -> Figure:
    """The share of right rows in each bin of confidence beside what it should be, and how many rows are in the bin.

    Args:
        edges: ``(bins + 1,)``, of the bins.
        counts: ``(bins,)``, rows.
        confidence: ``(bins,)``, mean top probability; NaN in empty bins.
        accuracy: ``(bins,)``, likewise.
        title: what is seen.
    """
    figure = new_figure(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    filled = counts > 0
    upper.bar(middles[filled], accuracy[filled], width, color=RIGHT, edgecolor="white", label="accuracy")
    gap: dict[str, Any] = {
        "color": WRONG,
        "marker": "D",
        "markersize": 5,
        "linestyle": "none",
        "markeredgecolor": "white",
    }
    upper.plot(
        confidence[filled], confidence[filled], label="mean confidence\n(where the bar should end)", **gap
    )
    upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfectly calibrated")
    dress(upper, title=title, y="share of right rows")
    upper.set_ylim(0, 1.02)
    legend_beside(upper)
    bars = lower.bar(middles, counts, width, color=FAINT_INK, edgecolor="white")
    lower.bar_label(bars, [f"{count:,}" for count in counts], fontsize=TICK_SIZE, padding=1, color=INK)
    dress(lower, x="probability of the predicted class", y="rows")
    lower.set_xlim(0, 1)
    lower.set_ylim(0, max(counts.max(initial=0), 1) * 1.35)  # room for the numbers
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.set_xticks(edges)
    return figure


def draw_confusion(counts: NDArray, labels: Sequence[str], title: str) -> Figure:
    """Confusion matrix ``(classes, classes)``: colours are shares of a label's rows, numbers are rows.

    With more classes than ``MAX_CELLS_WITH_COUNTS`` the colours stand alone.
    """
    num_classes = len(labels)
    side = min(7.0, max(2.4, 0.55 * num_classes))
    figure = new_figure(side + 1.3)
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    axes.set_facecolor(NOTHING)
    image = axes.imshow(
        np.ma.masked_invalid(shares),
        cmap=matplotlib.colormaps[SEQUENTIAL],
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    dress(axes, title=title, x="predicted", y="label", grid=False)
    label_ticks(axes.yaxis, labels, side)
    label_ticks(axes.xaxis, labels, side, rotation=90 if num_classes > 4 else 0)
    if num_classes <= MAX_CELLS_WITH_COUNTS:
        _write_counts(axes, counts, shares, side)
    if not totals.all():
        empty = Patch(facecolor=NOTHING, label="no rows with\nthis label")
        axes.legend(
            handles=[empty], loc="upper left", bbox_to_anchor=(1.0, -0.02), fontsize=TICK_SIZE, frameon=False
        )
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 2.6 / side), aspect=22, pad=0.015)
    bar.set_label("share of the label's rows", fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    return figure


def _write_counts(axes: Axes, counts: NDArray, shares: NDArray, side: float) -> None:
    """Into each cell that isn't empty, as large as fits; dark letters on light cells."""
    points = 72 * side / len(counts)
    digits = len(f"{counts.max():,}")
    size = min(11.0, points / (0.68 * digits), 0.7 * points)
    for row, column in zip(*np.nonzero(counts), strict=True):
        # viridis is darker than middle grey below 0.6
        colour = "white" if shares[row, column] < 0.6 else "black"
        cell: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "color": colour}
        axes.text(column, row, f"{counts[row, column]:,}", **cell)
