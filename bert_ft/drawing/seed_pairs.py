"""Two settings trained with the same seeds, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from bert_ft.drawing import style


def draw_seed_pairs(
    seeds: Sequence[int],
    first: Sequence[float],
    second: Sequence[float],
    names: tuple[str, str],
    metric: str,
    title: str,
    interval: tuple[float, float, float] | None,
) -> Figure:
    """Draw a line from the first settings' value to the second's for each seed; beside it the mean gain.

    ``interval`` is the lower end, the mean and the upper end of the gain.
    """
    figure = style.new_figure(3.0)
    values, gains = figure.subplots(1, 2, width_ratios=(3, 2))
    style.dress(values, title=title, y=metric)
    for place, (seed, before, after) in enumerate(zip(seeds, first, second, strict=True)):
        values.plot(
            (0, 1),
            (before, after),
            color=style.COLORS[place % len(style.COLORS)],
            linestyle=style.DASHES[place % len(style.DASHES)],
            marker=style.MARKERS[place % len(style.MARKERS)],
            label=f"seed {seed}",
        )
    values.set_xlim(-0.25, 1.25)
    values.set_xticks((0, 1), names)
    values.legend(fontsize=style.SMALL_SIZE, frameon=False)
    style.dress(gains, title="mean gain, 95% interval", x=f"gain in {metric}")
    gains.set_yticks([])
    gains.axvline(0, color=style.FAINT_INK, linewidth=0.8)
    if interval is not None:
        low, mean, high = interval
        gains.errorbar(
            [mean], [0], xerr=[[mean - low], [high - mean]], fmt="D", color=style.COLORS[0], capsize=4
        )
    return figure
