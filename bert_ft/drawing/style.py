"""The look that all pictures share: sizes, colours that stay apart without hue, texts that fit."""

from __future__ import annotations

import io
import math
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    ScalarFormatter,
    StrMethodFormatter,
)

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


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the upper left corner, for pictures whose parts have fixed sizes."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


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


def steps_along(axis: Axis) -> None:
    """Whole numbers of optimizer steps."""
    axis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def show_nothing(patch: Patch) -> None:
    """Hatched, not grey, which would look like a value of the scale in grey print."""
    patch.set(facecolor="white", edgecolor=NOTHING, hatch="////", linewidth=0)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis from ``low`` to ``high``, both above 0, in numbers without small exponents."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def plain_ticks(axis: Axis, highest: float) -> None:
    """Numbers of a linear axis up to ``highest`` without a factor or an offset beside it."""
    if 0 < highest < 1e-3:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    elif highest >= 1000:
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    else:
        axis.set_major_formatter(ScalarFormatter(useOffset=False))


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


def one_line(text: str, most: int = MAX_TEXT) -> str:
    """A text of the user's on one line, with its middle left out if it is too long, and no dollar sign read as math."""
    text = " ".join(text.split())
    if len(text) > most:
        ahead = (most - 1) * 2 // 3
        text = f"{text[:ahead]}…{text[len(text) - (most - 1 - ahead) :]}"
    return text.replace("$", r"\$")


def capitalized(text: str) -> str:
    """Return the text with a capital at its start, the rest as it is."""
    return text[:1].upper() + text[1:]


def num_columns(text: str) -> int:
    """How many letters the text is wide; those of East Asian scripts count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


LINE = 1.15  # of the letters' size, from one label to the next


def every_nth(num_labels: int, inches: float, size: float) -> int:
    """The smallest distance of the labels that are shown, so that lines of ``size`` points fit in so many inches."""
    if num_labels == 0:
        return 1
    pitch = inches * 72 / num_labels
    return max(1, math.ceil(size * LINE / pitch - 1e-9))  # but for rounding


def label_ticks(
    axis: Axis,
    labels: Sequence[str],
    inches: float,
    *,
    least: float = SMALL_SIZE,
    most: int = MAX_TEXT,
    **text: Any,
) -> None:
    """Labels at 0, 1, 2, … along ``inches`` of an axis, as many as fit; smaller letters before fewer.

    Args:
        axis: its ticks are replaced.
        labels: cut off at ``most`` characters.
        inches: the axis' length.
        least: points, size of the smallest letters.
        most: see ``labels``.
        text: settings of the labels.
    """
    fitting = inches * 72 / max(len(labels), 1) / LINE
    size = min(TICK_SIZE, max(least, fitting))
    step = every_nth(len(labels), inches, size)
    shown = [one_line(label, most) for label in labels[::step]]
    axis.set_ticks(range(0, len(labels), step), shown, fontsize=size, **text)
