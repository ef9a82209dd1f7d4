"""All settings of all trials: a line a trial, an axis a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.style import (
    FAINT_INK,
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    WIDTH,
    axes_at,
    new_figure,
    one_line,
)
from bert_ft.drawing.trials import WIDE_DIGIT, dark_is_better

HEIGHT = 3.4  # inches, of the axes
LEFT, RIGHT = 0.35, 1.75  # inches beside them
ASLANT = 25  # degrees, of the names
MOST = 30  # characters of a name
MISSING = -0.12  # where a line runs that hasn't the parameter
LEAST_GAP = 0.06  # of the height, between two labels


@dataclass(frozen=True)
class Coordinate:
    """One axis.

    Attributes:
        name: of the parameter.
        shares: ``(trials,)``, the place of each trial's value, from 0 (below) to 1; NaN where it has none.
        labels: share → what is written there.
    """

    name: str
    shares: NDArray
    labels: dict[float, str]


def draw_parallel_coordinates(
    coordinates: Sequence[Coordinate], ranks: NDArray, num_best: int, title: str
) -> Figure:
    """The trials' lines, the darker the better, the best ones thick and in front.

    Args:
        coordinates: at least two.
        ranks: ``(trials,)``, from 0 for the best to 1 for the worst.
        num_best: how many are drawn thick.
        title: what is seen.
    """
    width = WIDTH - LEFT - RIGHT
    longest = max(len(one_line(each.name, MOST)) for each in coordinates)
    top = 0.65 + math.sin(math.radians(ASLANT)) * longest * WIDE_DIGIT * TICK_SIZE / 72
    figure = new_figure(top + HEIGHT + 0.35)
    figure.set_layout_engine("none")  # the places are given
    axes = axes_at(figure, LEFT, top, width, HEIGHT)
    places = np.arange(len(coordinates))
    shares = np.stack([each.shares for each in coordinates], axis=1)
    shares = np.where(np.isfinite(shares), shares, MISSING)
    order = np.argsort(-ranks, kind="stable")
    lines = [np.column_stack([places, shares[trial]]) for trial in order]
    thick = [2.2 if place >= len(order) - num_best else 0.8 for place in range(len(order))]
    faded = [1.0 if place >= len(order) - num_best else 0.55 for place in range(len(order))]
    drawn = LineCollection(lines, linewidths=thick, alpha=faded, cmap=dark_is_better(), norm=Normalize(0, 1))
    drawn.set_array(ranks[order])
    axes.add_collection(drawn)
    has_missing = bool((shares == MISSING).any())
    axes.set_xlim(-0.05, len(coordinates) - 1 + 0.05)
    axes.set_ylim(MISSING - 0.03 if has_missing else -0.03, 1.03)
    axes.axis("off")
    room = width / max(len(coordinates) - 1, 1) * 72 / (WIDE_DIGIT * SMALL_SIZE) - 2
    for place, each in enumerate(coordinates):
        axes.plot([place, place], [0, 1], color=FAINT_INK, linewidth=1, zorder=3)
        axes.text(
            place,
            1.05,
            one_line(each.name, MOST),
            rotation=ASLANT,
            fontsize=TICK_SIZE,
            color=INK,
            rotation_mode="anchor",
        )
        for share, label in _fitting(each.labels):
            text = axes.text(
                place + 0.03, share, one_line(label, max(4, int(room))), fontsize=SMALL_SIZE, va="center", color=INK,
                zorder=6,
            )  # fmt: skip
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})
    if has_missing:
        axes.text(0, MISSING, "not in the trial", fontsize=SMALL_SIZE, va="top", color=FAINT_INK)
    figure.text(0.01, 1 - 0.25 / figure.get_size_inches()[1], title, fontsize=TITLE_SIZE, color=INK)
    scale = axes_at(figure, WIDTH - 0.78, top + 0.2, 0.12, HEIGHT - 0.4)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), dark_is_better()), cax=scale, ticks=[0, 0.5, 1])
    scale.set_yticklabels(["best", "median", "worst"], fontsize=TICK_SIZE)
    scale.invert_yaxis()
    scale.yaxis.set_label_position("left")
    bar.set_label("rank of the trial", fontsize=LABEL_SIZE)
    return figure


def _fitting(labels: dict[float, str]) -> list[tuple[float, str]]:
    """From below, the labels that don't touch the one before."""
    found: list[tuple[float, str]] = []
    for share, label in sorted(labels.items()):
        if not found or share - found[-1][0] >= LEAST_GAP:
            found.append((share, label))
    return found
