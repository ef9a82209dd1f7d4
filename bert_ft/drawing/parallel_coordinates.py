"""All settings of all trials: one line per trial, one axis per parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing import style
from bert_ft.drawing.trials import WIDE_DIGIT, dark_is_better, rank_bar

HEIGHT = 3.4  # inches, of the axes
LEFT, RIGHT = 0.35, 1.75  # inches beside them
SLANT = 25  # degrees, of the names
MOST = 30  # characters of a name
MISSING = -0.12  # place of the line on the axis of a parameter that the trial lacks
LEAST_GAP = 0.06  # of the height, between two labels


@dataclass(frozen=True)
class Coordinate:
    """One axis."""

    name: str  # of the parameter
    shares: NDArray  # (trials,), place of each value from 0 (bottom) to 1 (top); NaN if the trial has none
    labels: dict[float, str]  # share → text written there


def draw_parallel_coordinates(
    coordinates: Sequence[Coordinate], ranks: NDArray, num_best: int, title: str
) -> Figure:
    """Draw the trials' lines, better ones darker, and the best ones thick and in front.

    Args:
        coordinates: two or more axes.
        ranks: ``(trials,)``, from 0 for the best to 1 for the worst.
        num_best: number of thick lines.
        title: title above the picture.
    """
    width = style.WIDTH - LEFT - RIGHT
    longest = max(len(style.one_line(each.name, MOST)) for each in coordinates)
    top = 0.65 + math.sin(math.radians(SLANT)) * longest * WIDE_DIGIT * style.TICK_SIZE / 72
    figure = style.new_figure(top + HEIGHT + 0.35, is_fixed=True)
    axes = style.axes_at(figure, LEFT, top, width, HEIGHT)
    places = np.arange(len(coordinates))
    shares = np.stack([each.shares for each in coordinates], axis=1)
    shares = np.where(np.isfinite(shares), shares, MISSING)
    order = np.argsort(-ranks, kind="stable")
    lines = [np.column_stack([places, shares[trial]]) for trial in order]
    is_best = np.arange(len(order)) >= len(order) - num_best
    thick, faded = np.where(is_best, 2.2, 0.8), np.where(is_best, 1.0, 0.55)
    drawn = LineCollection(lines, linewidths=thick, alpha=faded, cmap=dark_is_better(), norm=Normalize(0, 1))
    drawn.set_array(ranks[order])
    axes.add_collection(drawn)
    has_missing = bool((shares == MISSING).any())
    axes.set_xlim(-0.05, len(coordinates) - 1 + 0.05)
    axes.set_ylim(MISSING - 0.03 if has_missing else -0.03, 1.03)
    axes.axis("off")
    room = width / max(len(coordinates) - 1, 1) * 72 / (WIDE_DIGIT * style.SMALL_SIZE) - 2
    for place, each in enumerate(coordinates):
        axes.plot([place, place], [0, 1], color=style.FAINT_INK, linewidth=1, zorder=3)
        name: dict[str, Any] = {"rotation": SLANT, "rotation_mode": "anchor", "fontsize": style.TICK_SIZE}
        axes.text(place, 1.05, style.one_line(each.name, MOST), color=style.INK, **name)
        for share, label in _fitting(each.labels):
            look: dict[str, Any] = {
                "fontsize": style.SMALL_SIZE,
                "color": style.INK,
                "va": "center",
                "zorder": 6,
            }
            text = axes.text(place + 0.03, share, style.one_line(label, max(4, int(room))), **look)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})
    if has_missing:
        axes.text(0, MISSING, "not in the trial", fontsize=style.SMALL_SIZE, va="top", color=style.FAINT_INK)
    place_of_title = 0.01, 1 - 0.25 / figure.get_size_inches()[1]
    figure.text(*place_of_title, title, fontsize=style.TITLE_SIZE, color=style.INK)
    scale = style.axes_at(figure, style.WIDTH - 0.78, top + 0.2, 0.12, HEIGHT - 0.4)
    rank_bar(figure, ScalarMappable(Normalize(0, 1), dark_is_better()), cax=scale)
    scale.yaxis.set_label_position("left")
    return figure


def _fitting(labels: dict[float, str]) -> list[tuple[float, str]]:
    """Return the labels that fit: from the bottom up, those that don't touch the last one kept."""
    found: list[tuple[float, str]] = []
    for share, label in sorted(labels.items()):
        if not found or share - found[-1][0] >= LEAST_GAP:
            found.append((share, label))
    return found
