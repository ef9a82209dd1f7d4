"""One statistic of all layers over the steps, as a grid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_ft.reporting.scalars import Series

MAX_COLUMNS = 240  # more than the picture has room for
LAYER = r"(?:embeddings|layer\.\d+|head)"


class LayerGrid(NamedTuple):
    """A statistic by layer and step.

    Attributes:
        names: of the rows, from the embeddings up to the head.
        steps: ``(columns,)``, rising.
        values: ``(rows, columns)``; NaN where nothing was logged.
    """

    names: list[str]
    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def layer_grid(scalars: Mapping[str, Series], pattern: str) -> LayerGrid | None:
    """The tags that ``pattern`` matches as a whole, a row each, named by its first group; ``None`` if none does.

    Names of the same layer, such as the parts of the head, keep their order.

    More than ``MAX_COLUMNS`` steps are taken together, neighbours with neighbours, each group as its mean.
    """
    rows = {match[1]: series for tag, series in scalars.items() if (match := re.fullmatch(pattern, tag))}
    if not rows:
        return None
    names = sorted(rows, key=depth)
    steps = np.unique(np.concatenate([rows[name].steps for name in names]))
    values = np.full((len(names), len(steps)), np.nan)
    for row, name in enumerate(names):
        values[row, np.searchsorted(steps, rows[name].steps)] = rows[name].values
    return LayerGrid(names, *_thinned(steps.astype(np.float64), values))


def depth(name: str) -> tuple[int, int]:
    """What sorts layers, and their sub-blocks, from the embeddings up to the head."""
    if match := re.match(r"layer\.(\d+)", name):
        return 1, int(match[1])
    return (0 if name.startswith("embeddings") else 2), 0


def _thinned(
    steps: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(steps) <= MAX_COLUMNS:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), MAX_COLUMNS)
    return (
        np.array([steps[group].mean() for group in groups]),
        np.stack([finite_mean(values[:, group], axis=1) for group in groups], axis=1),
    )


def finite_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean over ``axis`` of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    totals, counts = np.where(finite, values, 0).sum(axis=axis), finite.sum(axis=axis)
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)
