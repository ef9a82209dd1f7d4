"""One statistic of all layers over the steps, as a grid."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_ft.drawing.heat_maps import HeatMap
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.scalars import Series

MAX_COLUMNS = 240  # more than the picture has room for
LAYER = r"(?:embeddings|layer\.\d+|head)"


class LayerGrid(NamedTuple):
    """A statistic by layer and step.

    Attributes:
        names: names of the rows, from the embeddings up to the head.
        steps: ``(columns,)``, rising.
        values: ``(rows, columns)``; NaN where nothing was logged.
    """

    names: list[str]
    steps: NDArray[np.float64]
    values: NDArray[np.float64]

    def heat_map(self, title: str, y: str = "layer") -> HeatMap:
        """Return the grid for drawing, its rows named without ``layer.`` and ``head.``."""
        rows = [name.removeprefix("layer.").removeprefix("head.") for name in self.names]
        return HeatMap(title, rows, self.steps, self.values, y)


def layer_grid(scalars: Mapping[str, Series], pattern: str) -> LayerGrid | None:
    """Return a row for each tag that fully matches ``pattern``; ``None`` if none does.

    Rows are named by the pattern's first group. Rows of the same layer, such as the parts of the head, keep their
    order. More than ``MAX_COLUMNS`` steps are averaged in groups of neighbors.
    """
    rows = {match[1]: series for tag, series in scalars.items() if (match := re.fullmatch(pattern, tag))}
    if not rows:
        return None
    names = sorted(rows, key=depth)
    steps = np.unique(np.concatenate([rows[name].steps for name in names])).astype(np.float64)
    values = np.full((len(names), len(steps)), np.nan)
    for row, name in enumerate(names):
        values[row, np.searchsorted(steps, rows[name].steps)] = rows[name].values
    if len(steps) > MAX_COLUMNS:
        groups = np.array_split(np.arange(len(steps)), MAX_COLUMNS)
        steps = np.array([steps[group].mean() for group in groups])
        values = np.stack([finite_mean(values[:, group], axis=1) for group in groups], axis=1)
    return LayerGrid(names, steps, values)


def logged_grid(scalars: Mapping[str, Series], pattern: str, missing: str) -> LayerGrid:
    """Return ``layer_grid``.

    Raises:
        NotLogged: no tag matches; the message is ``missing``.
    """
    grid = layer_grid(scalars, pattern)
    if grid is None:
        raise NotLogged(missing)
    return grid


def depth(name: str) -> tuple[int, int]:
    """Return the sorting key of a layer or sub-block: embeddings, layers by number, head."""
    if match := re.match(r"layer\.(\d+)", name):
        return 1, int(match[1])
    return (0 if name.startswith("embeddings") else 2), 0


def finite_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the mean of the finite values over ``axis``; NaN where there are none."""
    finite = np.isfinite(values)
    totals, counts = np.where(finite, values, 0).sum(axis=axis), finite.sum(axis=axis)
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)
