"""How sure the classifier was, whether it was correct, and which classes it confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bert_ft.drawing import style

NUM_BARS = 25
BARS = 6.2  # inches, about, of the axes beside their legend
BAR = 1.4  # inches for the color scale
LETTER = 0.6 * style.TICK_SIZE / 72  # inches, width of a wide letter
ON_WHITE = "Blues"  # empty cells stay white; lightness falls evenly
COUNT_SIZES = (4.5, 11.0)  # points, of the numbers in cells
DIGIT = 0.66  # width of a digit and its margin, in sizes of the letters


def draw_top_probabilities(
    probabilities: NDArray, is_correct: NDArray, num_classes: int, title: str
) -> Figure:
    """Draw histograms of the top probability ``(rows,)``: correct rows above, wrong ones below, on separate scales."""
    figure = style.new_figure(3.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    edges = np.linspace(0, 1, NUM_BARS + 1)
    groups = (
        (upper, is_correct, "right", style.RIGHT, ""),
        (lower, ~is_correct, "wrong", style.WRONG, "////"),
    )
    for axes, chosen, name, color, hatch in groups:
        label = f"{name}: {np.count_nonzero(chosen):,} rows"
        bars: dict[str, Any] = {"facecolor": color, "edgecolor": "white", "linewidth": 0.5, "hatch": hatch}
        axes.hist(probabilities[chosen], bins=edges, label=label, **bars)
        style.dress(axes, y="rows")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.axvline(
            1 / num_classes, color=style.INK, linewidth=1, linestyle=":", label=f"chance: 1 of {num_classes}"
        )
        axes.set_ylim(bottom=0, top=None if chosen.any() else 1)
        style.legend_beside(axes)
    style.dress(upper, title=title, y="rows")
    lower.set_xlim(0, 1)
    lower.set_xlabel("probability of the predicted class", fontsize=style.LABEL_SIZE)
    return figure


def draw_reliability(
    edges: NDArray,
    counts: NDArray,
    confidence: NDArray,
    accuracy: NDArray,
    title: str,
    *,
    of: str = "the predicted class",
    share: str = "share of right rows",
    rows: str = "rows",
) -> Figure:
    """Draw the share of correct rows in each bin of confidence, the ideal share, and the number of rows.

    Args:
        edges: ``(bins + 1,)`` of the bins.
        counts: ``(bins,)`` rows.
        confidence: ``(bins,)`` mean top probability; NaN in empty bins.
        accuracy: ``(bins,)``; NaN in empty bins.
        title: title above the picture.
        of: what the probability is of.
        share: what the share is.
        rows: what is counted.
    """
    figure = style.new_figure(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    filled = counts > 0
    shares = upper.bar(
        middles[filled], accuracy[filled], width, color=style.RIGHT, edgecolor="white", label=share
    )
    points: dict[str, Any] = {"marker": "D", "markersize": 5, "linestyle": "none", "markeredgecolor": "white"}
    name = "mean confidence\n(where the bar should end)"
    (means,) = upper.plot(confidence[filled], confidence[filled], color=style.WRONG, label=name, **points)
    (ideal,) = upper.plot(
        [0, 1], [0, 1], color=style.INK, linewidth=1, linestyle="--", label="perfectly calibrated"
    )
    style.dress(upper, title=title, y=share)
    upper.set_ylim(0, 1.02)
    style.legend_beside(upper, handles=[shares, means, ideal])
    bars = lower.bar(middles, counts, width, color=style.FAINT_INK, edgecolor="white")
    names = [f"{count:,}" if count else "" for count in counts]
    size = min(style.TICK_SIZE, BARS * 72 / len(counts) / (0.64 * max(map(len, names))))
    if size >= style.SMALL_SIZE:
        lower.bar_label(bars, names, fontsize=size, padding=1, color=style.INK)
    style.dress(lower, x=f"probability of {of}", y=rows)
    lower.set_xlim(0, 1)
    lower.set_ylim(0, max(counts.max(initial=0), 1) * 1.35)  # room for the numbers
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.set_xticks(np.linspace(0, 1, 11))
    return figure


def draw_confusion(counts: NDArray, labels: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix ``(classes, classes)``: shares of a label's rows as colors, numbers of rows as texts.

    A number that doesn't fit into its cell is left out.
    """
    # inches of the longest label
    names = LETTER * max(style.num_columns(style.one_line(label)) for label in labels)
    left, top = 0.45 + names, 0.4
    side = min(max(2.4, 0.55 * len(labels)), style.WIDTH - left - BAR)
    across = {"rotation": 90} if names > 0.9 * side / len(labels) else {}
    figure = style.new_figure(top + side + 0.5 + (names if across else 0.15), is_fixed=True)
    axes = style.axes_at(figure, left, top, side, side)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    style.show_nothing(axes.patch)
    look: dict[str, Any] = {"cmap": ON_WHITE, "norm": PowerNorm(0.5, 0, 1)}  # so that mistakes can be seen
    image = axes.imshow(np.ma.masked_invalid(shares), aspect="auto", interpolation="nearest", **look)
    style.dress(axes, title=title, x="predicted", y="label", grid=False)
    style.label_ticks(axes.yaxis, labels, side)
    style.label_ticks(axes.xaxis, labels, side, **across)
    _write_counts(axes, counts, shares, side)
    ticks = [0, 0.05, 0.25, 0.5, 1]
    cax = style.axes_at(figure, left + side + 0.12, top, 0.12, min(side, 2.6))
    names_of_ticks = [f"{100 * tick:g}%" for tick in ticks]
    label = "share of the label's rows\n(square-root scale)"
    style.color_bar(figure, image, label, names=names_of_ticks, cax=cax, ticks=ticks)
    if not totals.all():
        empty = Patch(label="no rows with\nthis label")
        style.show_nothing(empty)
        corner = (left + side) / style.WIDTH, 1 - (top + min(side, 2.6) + 0.1) / figure.get_figheight()
        look = {"fontsize": style.TICK_SIZE, "frameon": False, "handlelength": 1.8}
        figure.legend(handles=[empty], loc="upper left", bbox_to_anchor=corner, **look)
    return figure


def _write_counts(axes: Axes, counts: NDArray, shares: NDArray, side: float) -> None:
    """Write into each cell that isn't empty, as large as fits, in light letters on dark cells."""
    points = 72 * side / len(counts)
    least, most = COUNT_SIZES
    for row, column in zip(*np.nonzero(counts), strict=True):
        text = f"{counts[row, column]:,}"
        # a single digit is no larger than two
        size = min(most, 0.7 * points, points / (DIGIT * max(len(text), 2)))
        # the scale is darker than medium gray from about 0.4 on
        color = "white" if shares[row, column] > 0.4 else style.INK
        if size >= least:
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
