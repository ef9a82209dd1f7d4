"""How sure the classifier was, whether rightly so, and what it took for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bert_ft.drawing.style import (
    DPI,
    FAINT_INK,
    INK,
    LABEL_SIZE,
    RIGHT,
    SMALL_SIZE,
    TICK_SIZE,
    WIDTH,
    WRONG,
    axes_at,
    dress,
    label_ticks,
    legend_beside,
    new_figure,
    num_columns,
    one_line,
    show_nothing,
)

NUM_BARS = 25
BARS = 6.2  # inches, about, of the axes beside their legend
BAR = 1.4  # inches, for the scale of the colours
LETTER = 0.6 * TICK_SIZE / 72  # inches, a wide one
ON_WHITE = "Blues"  # empty cells stay white; lightness falls evenly
COUNT_SIZES = (4.5, 11.0)  # points, of the numbers in cells
DIGIT = 0.66  # of the letters' size, a digit's width and what is left free


def draw_top_probabilities(
    probabilities: NDArray, is_correct: NDArray, num_classes: int, title: str
) -> Figure:
    """Histograms of the top probability ``(rows,)``: rows that are right above, wrong ones below, each on its own scale."""
    figure = new_figure(3.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    edges = np.linspace(0, 1, NUM_BARS + 1)
    groups = ((upper, is_correct, "right", RIGHT, ""), (lower, ~is_correct, "wrong", WRONG, "////"))
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
    shares = upper.bar(
        middles[filled], accuracy[filled], width, color=RIGHT, edgecolor="white", label="accuracy"
    )
    points: dict[str, Any] = {"marker": "D", "markersize": 5, "linestyle": "none", "markeredgecolor": "white"}
    name = "mean confidence\n(where the bar should end)"
    (means,) = upper.plot(confidence[filled], confidence[filled], color=WRONG, label=name, **points)
    (ideal,) = upper.plot(
        [0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfectly calibrated"
    )
    dress(upper, title=title, y="share of right rows")
    upper.set_ylim(0, 1.02)
    legend_beside(upper, handles=[shares, means, ideal])
    bars = lower.bar(middles, counts, width, color=FAINT_INK, edgecolor="white")
    names = [f"{count:,}" if count else "" for count in counts]
    size = min(TICK_SIZE, BARS * 72 / len(counts) / (0.64 * max(map(len, names))))
    if size >= SMALL_SIZE:
        lower.bar_label(bars, names, fontsize=size, padding=1, color=INK)
    dress(lower, x="probability of the predicted class", y="rows")
    lower.set_xlim(0, 1)
    lower.set_ylim(0, max(counts.max(initial=0), 1) * 1.35)  # room for the numbers
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.set_xticks(np.linspace(0, 1, 11))
    return figure


def draw_confusion(counts: NDArray, labels: Sequence[str], title: str) -> Figure:
    """Confusion matrix ``(classes, classes)``: colours are shares of a label's rows, numbers are rows.

    A number that doesn't fit into its cell is left out.
    """
    names = LETTER * max(num_columns(one_line(label)) for label in labels)  # inches that the labels take
    left, top = 0.45 + names, 0.4
    side = min(max(2.4, 0.55 * len(labels)), WIDTH - left - BAR)
    across = {"rotation": 90} if names > 0.9 * side / len(labels) else {}
    figure = Figure(
        figsize=(WIDTH, top + side + 0.5 + (names if across else 0.15)), dpi=DPI, facecolor="white"
    )
    axes = axes_at(figure, left, top, side, side)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    show_nothing(axes.patch)
    colours = matplotlib.colormaps[ON_WHITE]
    norm = PowerNorm(0.5, 0, 1)  # the diagonal leaves the mistakes little room on a linear scale
    image = axes.imshow(
        np.ma.masked_invalid(shares), cmap=colours, norm=norm, aspect="auto", interpolation="nearest"
    )
    dress(axes, title=title, x="predicted", y="label", grid=False)
    label_ticks(axes.yaxis, labels, side)
    label_ticks(axes.xaxis, labels, side, **across)
    _write_counts(axes, counts, shares, side)
    ticks = [0, 0.05, 0.25, 0.5, 1]
    bar = figure.colorbar(
        image, cax=axes_at(figure, left + side + 0.12, top, 0.12, min(side, 2.6)), ticks=ticks
    )
    bar.ax.set_yticklabels([f"{100 * tick:g}%" for tick in ticks], fontsize=TICK_SIZE)
    bar.set_label("share of the label's rows\n(square-root scale)", fontsize=LABEL_SIZE)
    if not totals.all():
        empty = Patch(label="no rows with\nthis label")
        show_nothing(empty)
        corner = (left + side) / WIDTH, 1 - (top + min(side, 2.6) + 0.1) / figure.get_figheight()
        look: dict[str, Any] = {"fontsize": TICK_SIZE, "frameon": False, "handlelength": 1.8}
        figure.legend(handles=[empty], loc="upper left", bbox_to_anchor=corner, **look)
    return figure


def _write_counts(axes: Axes, counts: NDArray, shares: NDArray, side: float) -> None:
    """Into each cell that isn't empty, as large as fits; light letters on dark cells."""
    points = 72 * side / len(counts)
    least, most = COUNT_SIZES
    for row, column in zip(*np.nonzero(counts), strict=True):
        text = f"{counts[row, column]:,}"
        # single digits no larger than pairs
        size = min(most, 0.7 * points, points / (DIGIT * max(len(text), 2)))
        # the scale is darker than middle grey from about 0.4 on
        colour = "white" if shares[row, column] > 0.4 else INK
        if size >= least:
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
