"""Which worker ran which trial, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bert_ft.drawing import style
from bert_ft.drawing.trials import WIDE_DIGIT

UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
LANE = 0.3  # inches
BARS = 7.0  # inches, about, of the axes beside their legend
LOOKS: dict[str, dict[str, Any]] = {
    "complete": {"facecolor": style.COLORS[4], "hatch": ""},
    "pruned": {"facecolor": "#f7c9a9", "hatch": "////"},
    "failed": {"facecolor": "#444444", "hatch": ""},
    "lost": {"facecolor": "#bbbbbb", "hatch": "xxxx"},
    "running": {"facecolor": "white", "hatch": "...."},
}


@dataclass(frozen=True)
class Bar:
    """A trial."""

    lane: int  # place of its worker, from the top
    start: float  # seconds since the start of the search
    seconds: float
    state: str  # a key of LOOKS
    number: int


def draw_timeline(bars: Sequence[Bar], lanes: Sequence[str], title: str) -> Figure:
    """Draw a row for each worker with its trials, and their numbers where there is room."""
    height = max(0.9, min(LANE * len(lanes), 6.0))
    figure = style.new_figure(height + 0.9)
    axes = figure.subplots()
    end = max(bar.start + bar.seconds for bar in bars)
    size, unit = next(((size, unit) for size, unit in UNITS if end >= 2 * size), UNITS[-1])
    style.dress(axes, title=title, x=f"{unit} since the search began", y="worker")
    axes.grid(False, axis="y")
    for bar in bars:
        points = bar.seconds / end * BARS * 72 if end else 0.0
        look: dict[str, Any] = {"edgecolor": "#222222", "linewidth": min(0.5, 0.06 * points)}
        look |= LOOKS[bar.state]
        axes.barh(bar.lane, bar.seconds / size, 0.72, bar.start / size, **look)
        text = str(bar.number)
        fits = points > (len(text) + 1) * WIDE_DIGIT * style.SMALL_SIZE
        if fits and height / len(lanes) * 72 * 0.72 > style.SMALL_SIZE:
            color = "white" if bar.state == "failed" else "black"
            middle = (bar.start + bar.seconds / 2) / size
            ground = {"facecolor": LOOKS[bar.state]["facecolor"], "edgecolor": "none", "pad": 0.6}
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.SMALL_SIZE}
            label = axes.text(middle, bar.lane, text, color=color, **place)
            label.set_bbox(ground)  # free of the hatching
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.set_xlim(0, end / size if end else 1)
    style.label_ticks(axes.yaxis, lanes, height)
    present = [state for state in LOOKS if any(bar.state == state for bar in bars)]
    handles = [Patch(label=state, edgecolor="#222222", **LOOKS[state]) for state in present]
    style.legend_beside(axes, handles=handles)
    return figure
