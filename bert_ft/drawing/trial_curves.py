"""Curves of the values that trials reported during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing import style
from bert_ft.drawing.trials import MARKS, value_ticks


@dataclass(frozen=True)
class TrialCurve:
    """One trial."""

    state: str  # a key of LOOKS
    steps: NDArray  # (n,)
    values: NDArray  # (n,)
    is_best: bool = False


LOOKS: dict[str, dict[str, Any]] = {
    "complete": {"color": style.COLORS[0], "linewidth": 0.9, "alpha": 0.7},
    "pruned": {"color": style.COLORS[5], "linewidth": 0.9, "linestyle": "--", "alpha": 0.8},
    "failed": {"color": "#000000", "linewidth": 0.9, "linestyle": ":"},
    "lost": {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (1, 3))},
    "running": {"color": "#777777", "linewidth": 0.9, "linestyle": "-."},
}


def draw_trial_curves(
    curves: Sequence[TrialCurve], y: str, title: str, limits: tuple[float, float] | None = None
) -> Figure:
    """Draw a line for each trial, with a cross where it was pruned."""
    figure = style.new_figure(3.9)
    axes = figure.subplots()
    style.dress(axes, title=title, x="optimizer steps", y=style.one_line(y))
    named: set[str] = set()
    for curve in sorted(curves, key=lambda curve: (curve.is_best, curve.state != "complete")):
        look = dict(LOOKS[curve.state])
        name = curve.state
        if curve.is_best:
            name, look = "the best", {"color": style.INK, "linewidth": 2.4}
        count = sum(each.state == curve.state and not each.is_best for each in curves)
        label = "_nolegend_" if name in named else name if curve.is_best else f"{name} ({count})"
        few = len(curve.steps) <= 2 and curve.state != "pruned"
        axes.plot(curve.steps, curve.values, label=label, marker="o" if few else None, markersize=3, **look)
        if curve.state == "pruned":
            axes.plot(curve.steps[-1:], curve.values[-1:], linestyle="none", **MARKS["pruned"])
        named.add(name)
    axes.set_xlim(left=0)
    style.steps_along(axes.xaxis)
    axes.margins(y=0.1)
    if limits is not None:
        axes.set_ylim(*limits)
    value_ticks(axes.yaxis)
    style.legend_beside(axes)
    return figure
