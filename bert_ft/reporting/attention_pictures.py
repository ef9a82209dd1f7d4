"""Pictures of attention."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.attention import HeadMap, draw_head_maps, draw_text_attention
from bert_ft.drawing.heat_maps import draw_heat_maps
from bert_ft.reporting.layer_grid import finite_mean, logged_grid
from bert_ft.reporting.monitor_files import Arrays
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec, plot
from bert_ft.reporting.run_log import RunLog

SHARE = (0.0, 1.0)


@plot(
    "What each head looks at",
    "Low entropy: the head looks at few tokens. A head that looks only at the first or last token does nothing there.",
)
def attention_heads(log: RunLog) -> Figure:
    arrays = _arrays(log)
    farthest = float(np.nanmax(arrays["distance"], initial=0)) or 1.0
    maps = [
        HeadMap("entropy", arrays["entropy"], "share of the maximum", SHARE),
        HeadMap("distance", arrays["distance"], "tokens", (0.0, farthest)),
    ]
    for name, token in (("on_first", "first token"), ("on_last", "last token"), ("on_self", "token itself")):
        maps.append(HeadMap(f"on the {token}", arrays[name], "share", SHARE))
    return draw_head_maps(maps)


@plot(
    "Attention entropy over training",
    "Layers that turn dark narrow down to single tokens; if all do at once, attention has collapsed.",
)
def attention_entropy(log: RunLog) -> Figure:
    pattern = layout.tag(layout.ATTENTION, r"(layer\.\d+)", layout.ENTROPY)
    grid = logged_grid(log.scalars, pattern, "no attention/<layer>/entropy was logged (monitor attention)")
    means = finite_mean(grid.values, axis=0)
    title = f"Mean entropy of the attention: {means[0]:.2f} → {means[-1]:.2f}"
    return draw_heat_maps([grid.heat_map(title)], "share of the maximum", limits=SHARE)


def text_plots(log: RunLog) -> list[PlotSpec]:
    """Return a picture for each text whose attention was kept."""
    kept = {} if log.attention is None else log.attention.content
    return [
        PlotSpec(
            f"attention_text_{number}",
            f"Attention within text {number}",
            "Each row shows where one token looks. A bright column is a token that all tokens look at; on a bright "
            "diagonal, tokens look at themselves or their neighbors.",
            partial(_text_attention, number=number),
        )
        for number in range(len(kept))
        if f"text_{number}_attention" in kept
    ]


def _text_attention(log: RunLog, number: int) -> Figure:
    arrays = _arrays(log)
    tokens = [str(token) for token in arrays[f"text_{number}_tokens"]]
    maps = arrays[f"text_{number}_attention"]
    layers, heads = maps.shape[:2]
    return draw_text_attention(
        tokens, maps, f"{len(tokens)} tokens, {layers} layers of {heads} heads: each row looks at columns"
    )


def _arrays(log: RunLog) -> Arrays:
    if log.attention is None:
        raise NotLogged("no monitor/attention_<step>.npz was kept (monitor attention)")
    return log.attention.content


PLOTS = (attention_heads, attention_entropy)
