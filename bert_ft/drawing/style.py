"""The common look of all pictures: sizes, colors that differ without hue, texts that fit."""

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
SMALL_SIZE = 6.5  # the smallest that is easy to read

INK = "#222222"
FAINT_INK = "#6b6b6b"
GRID = "#e3e3e3"
NOTHING = "#d4d4d4"  # where there is no value

# Okabe and Ito (2008), safe for color-blind readers, in an order that alternates dark and light
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
RIGHT, WRONG = "#0072b2", "#d55e00"
SEQUENTIAL = "viridis"  # lightness rises evenly, as gray print needs

MAX_TEXT = 22  # characters of a label
LINE = 1.15  # height of a line of labels, in sizes of its letters


def new_figure(height: float, *, is_fixed: bool = False) -> Figure:
    """Return an empty picture of the common width, outside of any window or global state.

    ``is_fixed``: its parts are placed by ``axes_at``, and no layout moves them.
    """
    layout = None if is_fixed else ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes at a place in inches from the upper left corner."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def png(figure: Figure) -> bytes:
    """Return the picture as a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # texts of users may be in scripts that the font lacks: those letters are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def dress(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: bool = True) -> None:
    """Set title, axis labels and tick sizes, and remove the upper and right frame."""
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


def color_bar(figure: Figure, image: Any, label: str, *, names: Sequence[str] = (), **place: Any) -> Axes:
    """Draw the color scale of ``image``, with ``names`` at its ticks, and return its axes."""
    bar = figure.colorbar(image, **place)
    bar.set_label(label, fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    if names:
        (bar.ax.set_xticklabels if bar.orientation == "horizontal" else bar.ax.set_yticklabels)(names)
    return bar.ax


def steps_along(axis: Axis) -> None:
    """Set ticks at whole numbers of optimizer steps."""
    axis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def show_nothing(patch: Patch) -> None:
    """Hatch cells without a value; plain gray would look like a value of the scale in gray print."""
    patch.set(facecolor="white", edgecolor=NOTHING, hatch="////", linewidth=0)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Set ticks of a logarithmic axis from ``low`` to ``high``, both above 0, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def plain_ticks(axis: Axis, highest: float) -> None:
    """Set tick numbers of a linear axis up to ``highest`` without a common factor or offset."""
    if 0 < highest < 1e-3:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    elif highest >= 1000:
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    else:
        axis.set_major_formatter(ScalarFormatter(useOffset=False))


def legend_beside(axes: Axes, **settings: Any) -> None:
    """Draw a legend to the right of the data."""
    look: dict[str, Any] = {"fontsize": TICK_SIZE, "frameon": False, "labelcolor": INK, "handlelength": 2.6}
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), **look, **settings)


def one_line(text: str, most: int = MAX_TEXT) -> str:
    """Return a user's text on one line, without its middle if it is too long, and with dollar signs escaped."""
    text = " ".join(text.split())
    if len(text) > most:
        ahead = (most - 1) * 2 // 3
        text = f"{text[:ahead]}…{text[len(text) - (most - 1 - ahead) :]}"
    return text.replace("$", r"\$")


def capitalized(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def num_columns(text: str) -> int:
    """Return the width of the text in letters; those of East Asian scripts count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def label_ticks(
    axis: Axis,
    labels: Sequence[str],
    inches: float,
    *,
    least: float = SMALL_SIZE,
    most: int = MAX_TEXT,
    **text: Any,
) -> None:
    """Set labels at 0, 1, 2, … along ``inches`` of an axis, as many as fit: first smaller letters, then fewer labels.

    Args:
        axis: its ticks are replaced.
        labels: shortened to ``most`` characters.
        inches: length of the axis.
        least: size of the smallest letters in points.
        most: see ``labels``.
        text: settings of the labels.
    """
    fitting = inches * 72 / max(len(labels), 1) / LINE
    size = min(TICK_SIZE, max(least, fitting))
    step = max(1, math.ceil(size / fitting - 1e-9))  # no step more by rounding
    shown = [one_line(label, most) for label in labels[::step]]
    axis.set_ticks(range(0, len(labels), step), shown, fontsize=size, **text)
