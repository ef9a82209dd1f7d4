"""The look that all pictures share: sizes, colours that stay apart without hue, texts that fit."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

DPI = 150
WIDTH = 9.0  # inches, of every picture

TITLE_SIZE = 10.5  # points
LABEL_SIZE = 9.0
TICK_SIZE = 8.0
SMALL_SIZE = 6.5  # the smallest that is read without effort

INK = "#222222"
FAINT_INK = "#6b6b6b"
GRID = "#e3e3e3"
NOTHING = "#d4d4d4"  # where there is no value

# Okabe and Ito (2008), which colour-blind readers tell apart, in an order that alternates dark and light
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
RIGHT, WRONG = "#0072b2", "#d55e00"
SEQUENTIAL = "viridis"  # lightness rises evenly: it survives grey print

MAX_TEXT = 22  # characters of a label


def new_figure(height: float) -> Figure:
    """An empty picture of the common width; it belongs to no window and to no global state."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")


def png(figure: Figure) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # texts come from users, in scripts that the font may not have: those letters are boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def dress(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: bool = True) -> None:
    """Title, axis labels and tick sizes, and no frame where nothing ends."""
    axes.set_title(title, loc="left", fontsize=TITLE_SIZE, color=INK)
    axes.set_xlabel(x, fontsize=LABEL_SIZE, color=INK)
    axes.set_ylabel(y, fontsize=LABEL_SIZE, color=INK)
    axes.tick_params(labelsize=TICK_SIZE, labelcolor=INK, color=FAINT_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT_INK)
    if grid:
        axes.grid(True, color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)


def legend_beside(axes: Axes, **settings: Any) -> None:
    """A legend to the right of the data."""
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.02),
        fontsize=TICK_SIZE,
        frameon=False,
        labelcolor=INK,
        handlelength=2.6,
        **settings,
    )


def plain(text: str, most: int = MAX_TEXT) -> str:
    """A text of the user's on one line, with its middle left out if it is too long, and no dollar sign read as math."""
    text = " ".join(text.split())
    if len(text) > most:
        ahead = (most - 1) * 2 // 3
        text = f"{text[:ahead]}…{text[len(text) - (most - 1 - ahead) :]}"
    return text.replace("$", r"\$")


def every_nth(num_labels: int, inches: float, size: float) -> int:
    """The smallest distance of the labels that are shown, so that lines of ``size`` points fit in so many inches."""
    if num_labels == 0:
        return 1
    pitch = inches * 72 / num_labels
    return max(1, -int(-size * 1.25 // pitch))


def label_ticks(
    axis: Axis,
    labels: Sequence[str],
    inches: float,
    *,
    size: float = TICK_SIZE,
    most: int = MAX_TEXT,
    **text: Any,
) -> None:
    """Labels at 0, 1, 2, … along ``inches`` of an axis, as many as fit; smaller letters before fewer."""
    if every_nth(len(labels), inches, size) > 1:
        size = max(SMALL_SIZE, min(size, inches * 72 / len(labels) / 1.25))
    step = every_nth(len(labels), inches, size)
    axis.set_ticks(
        range(0, len(labels), step), [plain(label, most) for label in labels[::step]], fontsize=size, **text
    )
