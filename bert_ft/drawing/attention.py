"""What the heads look at: a number for each, and the attention within single texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bert_ft.drawing.style import (
    DPI,
    INK,
    SEQUENTIAL,
    SMALL_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    WIDTH,
    axes_at,
    dress,
    label_ticks,
    new_figure,
    one_line,
)

MAX_TOKEN = 14  # characters of a token's label
MAX_HEADS = 24  # of the last layer that are shown
TOKEN_SIZE = 5.5  # points, the smallest of a token's name: 48 fit on the largest map
TOKEN_LETTER = 0.6 * TICK_SIZE / 72  # inches, a wide one
KEY = (2.6, 0.3, 4.3)  # inches, side of the map with the tokens' names: at least, for each token, at most
MAX_TILE = 1.25  # inches, side of a small map
TOP = 0.62  # inches above the maps
GAP, CAPTION = 0.07, 0.15  # inches between small maps and above each


@dataclass(frozen=True)
class Box:
    """A place in a picture, in inches from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class HeadMap:
    """A number for each head.

    Attributes:
        title: what is seen.
        values: ``(layers, heads)``.
        colour: what the colours measure, with its unit.
        limits: of the scale.
    """

    title: str
    values: NDArray
    colour: str
    limits: tuple[float, float]


def draw_head_maps(maps: Sequence[HeadMap]) -> Figure:
    """The maps, three beside each other, the lowest layer below."""
    num_layers, num_heads = maps[0].values.shape
    columns = min(3, len(maps))
    lines = -(-len(maps) // columns)
    figure = new_figure(0.3 + lines * (0.9 + min(3.2, max(1.3, 0.2 * num_layers))))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, each in zip(grid.flat, maps, strict=False):
        dress(axes, title=each.title, x="head", y="layer" if axes in grid[:, 0] else "", grid=False)
        image = _show(axes, each.values, Normalize(*each.limits), origin="lower")
        axes.xaxis.set_major_locator(MaxNLocator(min(8, num_heads), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(min(12, num_layers), integer=True))
        bar = figure.colorbar(image, ax=axes, aspect=18, pad=0.02)
        bar.set_label(each.colour, fontsize=TICK_SIZE)
        bar.ax.tick_params(labelsize=TICK_SIZE)
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    return figure


def draw_text_attention(tokens: Sequence[str], attention: NDArray, title: str) -> Figure:
    """The attention within one text ``(layers, heads, length, length)``: who looks (rows) at whom (columns).

    On the left the last layer with the tokens' names and beside it all layers, each as the mean over its heads; below
    them the heads of the last layer. All have the same scale and the same order of tokens.
    """
    by_layer = attention.astype(np.float64).mean(axis=1)
    heads = attention[-1, :MAX_HEADS].astype(np.float64)
    norm = PowerNorm(0.5, 0, 1)
    least, each, most = KEY
    side = min(max(least, each * len(tokens)), most)
    names = 0.1 + TOKEN_LETTER * max(
        len(one_line(token, MAX_TOKEN)) for token in tokens
    )  # inches that they take
    key = Box(names + 0.1, TOP, side, side)
    right = key.left + side + 0.3
    layers = Box(right, TOP, WIDTH - right - 0.1, side)
    head_columns = len(heads) if len(heads) <= 8 else -(-len(heads) // 2)
    tile = min(MAX_TILE, (WIDTH - 0.2) / head_columns - GAP)
    head_lines = -(-len(heads) // head_columns)
    below = TOP + side + max(names, 0.55) + 0.35
    lower = Box(0.1, below, head_columns * (tile + GAP), head_lines * (tile + GAP + CAPTION))
    figure = Figure(figsize=(WIDTH, lower.top + lower.height + 0.05), dpi=DPI, facecolor="white")
    figure.text(
        0.1 / WIDTH, 1 - 0.1 / figure.get_figheight(), title, va="top", fontsize=TITLE_SIZE, color=INK
    )
    image = _draw_key(figure, key, by_layer[-1], tokens, norm)
    _draw_tiles(
        figure, layers, by_layer, "each layer, mean of its heads", norm, _columns(len(by_layer), layers)
    )
    _draw_tiles(figure, lower, heads, "each head of the last layer", norm, head_columns)
    _draw_scale(figure, Box(right, TOP + side + 0.3, 2.8, 0.11), image)
    return figure


def _draw_key(figure: Figure, box: Box, values: NDArray, tokens: Sequence[str], norm: Normalize) -> AxesImage:
    axes = _axes(figure, box)
    image = _show(axes, values, norm)
    for axis, rotation in ((axes.yaxis, 0), (axes.xaxis, 90)):
        label_ticks(axis, tokens, box.height, least=TOKEN_SIZE, most=MAX_TOKEN, rotation=rotation)
    axes.tick_params(length=2, pad=2)
    _caption(figure, box, "last layer, mean of its heads")
    return image


def _draw_tiles(figure: Figure, box: Box, maps: NDArray, caption: str, norm: Normalize, columns: int) -> None:
    """Maps ``(maps, length, length)`` line by line, numbered from 0."""
    side = _side(len(maps), box, columns)
    for number, values in enumerate(maps):
        line, column = divmod(number, columns)
        left, top = box.left + column * (side + GAP), box.top + CAPTION + line * (side + GAP + CAPTION)
        axes = _axes(figure, Box(left, top, side, side))
        _show(axes, values, norm)
        axes.set_axis_off()
        axes.set_title(str(number), loc="left", fontsize=SMALL_SIZE, pad=1.5, color=INK)
    _caption(figure, box, caption)


def _draw_scale(figure: Figure, box: Box, image: AxesImage) -> None:
    bar = figure.colorbar(
        image, cax=_axes(figure, box), orientation="horizontal", ticks=[0, 0.05, 0.25, 0.5, 1]
    )
    bar.ax.set_xticklabels(["0", "5%", "25%", "50%", "100%"], fontsize=TICK_SIZE)
    _caption(figure, box, "attention, share of a row's (square-root scale)")


def _caption(figure: Figure, box: Box, text: str) -> None:
    """A line of text above the box."""
    place = box.left / WIDTH, 1 - (box.top - 0.05) / figure.get_figheight()
    figure.text(*place, text, va="bottom", fontsize=TICK_SIZE, color=INK)


def _columns(count: int, box: Box) -> int:
    """How many tiles beside each other make them largest."""
    return max(range(1, count + 1), key=lambda columns: _side(count, box, columns))


def _side(count: int, box: Box, columns: int) -> float:
    """Inches of a tile, if so many are beside each other in the box."""
    lines = -(-count // columns)
    return min(box.width / columns - GAP, box.height / lines - GAP - CAPTION, MAX_TILE)


def _axes(figure: Figure, box: Box) -> Axes:
    return axes_at(figure, box.left, box.top, box.width, box.height)


def _show(axes: Axes, values: NDArray, norm: Normalize, **settings: Any) -> AxesImage:
    look: dict[str, Any] = {"cmap": matplotlib.colormaps[SEQUENTIAL], "norm": norm, "aspect": "auto"}
    return axes.imshow(values, interpolation="nearest", **look, **settings)
