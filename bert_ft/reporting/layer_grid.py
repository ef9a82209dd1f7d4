"""One statistic of all layers over the steps, as a grid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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


def depth(name: str) -> tuple[int, int, str]:
    """What sorts layers, and their sub-blocks, from the embeddings up to the head."""
    if match := re.match(r"layer\.(\d+)", name):
        return 1, int(match[1]), name
    return (0 if name.startswith("embeddings") else 2), 0, name


def layers_of(tags: Iterable[str], pattern: str) -> list[str]:
    """The first groups of the tags that ``pattern`` matches as a whole, from the embeddings up."""
    return sorted({match[1] for tag in tags if (match := re.fullmatch(pattern, tag))}, key=depth)


def _thinned(
    steps: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(steps) <= MAX_COLUMNS:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), MAX_COLUMNS)
    return (
        np.array([steps[group].mean() for group in groups]),
        np.stack([_mean(values[:, group]) for group in groups], axis=1),
    )


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the columns of what is finite in each row ``(rows, columns)`` → ``(rows,)``; NaN if nothing is."""
    finite = np.isfinite(values)
    totals = np.where(finite, values, 0).sum(axis=1)
    return np.divide(totals, finite.sum(axis=1), out=np.full(len(values), np.nan), where=finite.any(axis=1))
