"""Pictures of what the attention heads look at."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.attention import HeadMap, draw_head_maps, draw_text_attention
from bert_ft.drawing.heat_maps import HeatMap, draw_heat_maps
from bert_ft.reporting.layer_grid import finite_mean, layer_grid
from bert_ft.reporting.monitor_files import Arrays
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.reporting.run_log import RunLog

SHARE = (0.0, 1.0)


def head_maps(log: RunLog) -> Figure:
    """Each statistic by layer and head."""
    arrays = _arrays(log)
    return draw_head_maps(
        [
            HeadMap("entropy", arrays["entropy"], "share of the highest", SHARE),
            HeadMap(
                "distance",
                arrays["distance"],
                "tokens",
                (0.0, float(np.nanmax(arrays["distance"], initial=0)) or 1.0),
            ),
            HeadMap("on the first token", arrays["on_first"], "share", SHARE),
            HeadMap("on the last token", arrays["on_last"], "share", SHARE),
            HeadMap("on the token itself", arrays["on_self"], "share", SHARE),
        ]
    )


def entropy_over_training(log: RunLog) -> Figure:
    """The entropy of each layer's heads at each validation."""
    grid = layer_grid(log.scalars, layout.tag(layout.ATTENTION, r"(layer\.\d+)", layout.ENTROPY))
    if grid is None:
        raise NotLogged("no attention/<layer>/entropy was logged (monitor attention)")
    means = finite_mean(grid.values, axis=0)
    title = f"Entropy of the attention: {means[0]:.2f} → {means[-1]:.2f} on average"
    rows = [name.removeprefix("layer.") for name in grid.names]
    return draw_heat_maps(
        [HeatMap(title, rows, grid.steps, grid.values)], "share of the highest", limits=SHARE
    )


def text_attention(log: RunLog, number: int) -> Figure:
    """The attention within one text."""
    arrays = _arrays(log)
    tokens = [str(token) for token in arrays[f"text_{number}_tokens"]]
    maps = arrays[f"text_{number}_attention"]
    layers, heads = maps.shape[:2]
    return draw_text_attention(
        tokens, maps, f"{len(tokens)} tokens, {layers} layers of {heads} heads: each row looks at columns"
    )


def text_plots(log: RunLog) -> list[PlotSpec]:
    """One for each text whose attention was kept."""
    kept = {} if log.attention is None else log.attention.content
    numbers = [number for number in range(len(kept)) if f"text_{number}_attention" in kept]
    return [
        PlotSpec(
            f"attention_text_{number}",
            f"Attention within text {number}",
            "Each row shows where one token looks; a bright column is a token that all look at, a bright diagonal "
            "looks at itself or its neighbours.",
            partial(text_attention, number=number),
        )
        for number in numbers
    ]


def _arrays(log: RunLog) -> Arrays:
    if log.attention is None:
        raise NotLogged("no monitor/attention_<step>.npz was kept (monitor attention)")
    return log.attention.content


PLOTS = (
    PlotSpec(
        "attention_heads",
        "What each head looks at",
        "Low entropy: the head looks at few tokens; a head with all on the first or last token does nothing there.",
        head_maps,
    ),
    PlotSpec(
        "attention_entropy",
        "Entropy of the attention over training",
        "Layers that turn dark narrow down to single tokens; all at once is a collapse.",
        entropy_over_training,
    ),
)
