"""Pictures of attention: one number for each head, and the attention within single texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bert_ft.drawing import style

MAX_TOKEN = 14  # characters of a token's label
MAX_HEADS = 24  # shown of the last layer
TOKEN_SIZE = 5.5  # points, smallest size of a token's name: 48 fit on the largest map
TOKEN_LETTER = 0.6 * style.TICK_SIZE / 72  # inches, width of a wide letter
KEY = (2.6, 0.3, 4.3)  # inches, side of the map with the tokens' names: at least, for each token, at most
MAX_TILE = 1.25  # inches, side of a small map
TOP = 0.62  # inches above the maps
GAP, CAPTION = 0.07, 0.15  # inches between small maps and above each


class Box(NamedTuple):
    """A place in a picture, in inches from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class HeadMap:
    """A number for each head."""

    title: str
    values: NDArray  # (layers, heads)
    color: str  # what the colors measure, with its unit
    limits: tuple[float, float]  # of the color scale


def draw_head_maps(maps: Sequence[HeadMap]) -> Figure:
    """Draw the maps, three to a row, with the lowest layer at the bottom."""
    num_layers, num_heads = maps[0].values.shape
    columns = min(3, len(maps))
    lines = -(-len(maps) // columns)
    figure = style.new_figure(0.3 + lines * (0.9 + min(3.2, max(1.3, 0.2 * num_layers))))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, each in zip(grid.flat, maps, strict=False):
        style.dress(axes, title=each.title, x="head", y="layer" if axes in grid[:, 0] else "", grid=False)
        image = _show(axes, each.values, Normalize(*each.limits), origin="lower")
        axes.xaxis.set_major_locator(MaxNLocator(min(8, num_heads), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(min(12, num_layers), integer=True))
        bar = style.color_bar(figure, image, each.color, ax=axes, aspect=18, pad=0.02)
        bar.yaxis.label.set_fontsize(style.TICK_SIZE)
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    return figure


def draw_text_attention(tokens: Sequence[str], attention: NDArray, title: str) -> Figure:
    """Draw the attention within one text ``(layers, heads, length, length)``, from each row to each column.

    The upper maps are means over heads: the last layer with the tokens' names, and all layers. Below are the heads of
    the last layer. All maps have the same scale and the same order of tokens.
    """
    by_layer = attention.astype(np.float64).mean(axis=1)
    heads = attention[-1, :MAX_HEADS].astype(np.float64)
    norm = PowerNorm(0.5, 0, 1)
    least, each, most = KEY
    side = min(max(least, each * len(tokens)), most)
    # inches of the longest name
    names = 0.1 + TOKEN_LETTER * max(len(style.one_line(token, MAX_TOKEN)) for token in tokens)
    key = Box(names + 0.1, TOP, side, side)
    right = key.left + side + 0.3
    layers = Box(right, TOP, style.WIDTH - right - 0.1, side)
    head_columns = len(heads) if len(heads) <= 8 else -(-len(heads) // 2)
    tile = min(MAX_TILE, (style.WIDTH - 0.2) / head_columns - GAP)
    head_lines = -(-len(heads) // head_columns)
    below = TOP + side + max(names, 0.55) + 0.35
    lower = Box(0.1, below, head_columns * (tile + GAP), head_lines * (tile + GAP + CAPTION))
    figure = style.new_figure(lower.top + lower.height + 0.05, is_fixed=True)
    place = 0.1 / style.WIDTH, 1 - 0.1 / figure.get_figheight()
    figure.text(*place, title, va="top", fontsize=style.TITLE_SIZE, color=style.INK)
    image = _draw_key(figure, key, by_layer[-1], tokens, norm)
    # as many columns as make the tiles largest
    columns = max(range(1, len(by_layer) + 1), key=lambda count: _side(len(by_layer), layers, count))
    _draw_tiles(figure, layers, by_layer, "each layer, mean of its heads", norm, columns)
    _draw_tiles(figure, lower, heads, "each head of the last layer", norm, head_columns)
    scale = Box(right, TOP + side + 0.3, 2.8, 0.11)
    ends: dict[str, Any] = {"orientation": "horizontal", "ticks": [0, 0.05, 0.25, 0.5, 1]}
    names_of_ends = ["0", "5%", "25%", "50%", "100%"]
    style.color_bar(figure, image, "", names=names_of_ends, cax=style.axes_at(figure, *scale), **ends)
    _caption(figure, scale, "share of the row's attention (square-root scale)")
    return figure


def _draw_key(figure: Figure, box: Box, values: NDArray, tokens: Sequence[str], norm: Normalize) -> AxesImage:
    axes = style.axes_at(figure, *box)
    image = _show(axes, values, norm)
    for axis, rotation in ((axes.yaxis, 0), (axes.xaxis, 90)):
        style.label_ticks(axis, tokens, box.height, least=TOKEN_SIZE, most=MAX_TOKEN, rotation=rotation)
    axes.tick_params(length=2, pad=2)
    _caption(figure, box, "last layer, mean of its heads")
    return image


def _draw_tiles(figure: Figure, box: Box, maps: NDArray, caption: str, norm: Normalize, columns: int) -> None:
    """Draw maps ``(maps, length, length)`` row by row, numbered from 0."""
    side = _side(len(maps), box, columns)
    for number, values in enumerate(maps):
        line, column = divmod(number, columns)
        left, top = box.left + column * (side + GAP), box.top + CAPTION + line * (side + GAP + CAPTION)
        axes = style.axes_at(figure, left, top, side, side)
        _show(axes, values, norm)
        axes.set_axis_off()
        axes.set_title(str(number), loc="left", fontsize=style.SMALL_SIZE, pad=1.5, color=style.INK)
    _caption(figure, box, caption)


def _caption(figure: Figure, box: Box, text: str) -> None:
    """Write a line of text above the box."""
    place = box.left / style.WIDTH, 1 - (box.top - 0.05) / figure.get_figheight()
    figure.text(*place, text, va="bottom", fontsize=style.TICK_SIZE, color=style.INK)


def _side(count: int, box: Box, columns: int) -> float:
    """Return the inches of a tile in that many columns."""
    lines = -(-count // columns)
    return min(box.width / columns - GAP, box.height / lines - GAP - CAPTION, MAX_TILE)


def _show(axes: Axes, values: NDArray, norm: Normalize, **settings: Any) -> AxesImage:
    look: dict[str, Any] = {"cmap": matplotlib.colormaps[style.SEQUENTIAL], "norm": norm, "aspect": "auto"}
    return axes.imshow(values, interpolation="nearest", **look, **settings)
