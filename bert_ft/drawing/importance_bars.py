"""How much each parameter matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from bert_ft.drawing import style

BAR = 0.34  # inches for the bars of a parameter
LOOKS = ({"color": style.COLORS[0]}, {"color": style.COLORS[1], "hatch": "////", "edgecolor": "white"})


@dataclass(frozen=True)
class ImportancePanel:
    """One objective."""

    title: str
    shares: Mapping[str, Mapping[str, float]]  # evaluator → parameter → share between 0 and 1
    # the standard deviation of each share, drawn as a whisker
    spreads: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def draw_importances(panels: Sequence[ImportancePanel], names: Sequence[str]) -> Figure:
    """Draw a bar for each parameter and evaluator; ``names`` of the parameters from the top down."""
    height = max(0.9, BAR * len(names))
    figure = style.new_figure((0.75 + height) * len(panels))
    longest = max(
        share + panel.spreads.get(kind, {}).get(name, 0.0)
        for panel in panels
        for kind, shares in panel.shares.items()
        for name, share in shares.items()
    )
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        style.dress(axes, title=panel.title, x="share of the importance" if panel is panels[-1] else "")
        axes.grid(False, axis="y")
        width = 0.8 / max(len(panel.shares), 1)
        for place, (kind, shares) in enumerate(panel.shares.items()):
            known = [(row, shares[name]) for row, name in enumerate(names) if name in shares]
            rows = np.array([row for row, _ in known]) - 0.4 + width * (place + 0.5)
            values = [value for _, value in known]
            axes.barh(rows, values, 0.92 * width, label=kind, linewidth=0, **LOOKS[place])
            spread = panel.spreads.get(kind, {})
            errors = [spread.get(names[row], 0.0) for row, _ in known]
            axes.errorbar(values, rows, xerr=errors, fmt="none", ecolor=style.INK, elinewidth=0.8)
            for row, value, error in zip(rows, values, errors, strict=True):
                text = f"{value:.2f}"
                axes.text(
                    value + error + 0.006, row, text, va="center", fontsize=style.SMALL_SIZE, color=style.INK
                )
        axes.set_ylim(len(names) - 0.5, -0.5)
        style.label_ticks(axes.yaxis, names, height, most=34)
        axes.set_xlim(0, 1.08 * longest)
        style.legend_beside(axes)
    return figure
