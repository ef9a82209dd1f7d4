"""Texts that two splits share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bert_ft.data.texts import TextKeys

NUM_EXAMPLES = 5


@dataclass(frozen=True)
class Leaks:
    """Rows of one split whose text is in another.

    Attributes:
        split: name of the split whose rows are counted.
        other: name of the other split with the same texts.
        num_exact: number of rows with exactly the same text.
        num_near: number of other rows whose text differs only in case, white space or Unicode form.
        rows: numbers of the first such rows of both kinds.
    """

    split: str
    other: str
    num_exact: int
    num_near: int
    rows: list[int]


def find_leaks(keys: TextKeys, others: TextKeys) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of ``keys`` are exact, and which near copies of ``others``: ``(num_rows,)`` bool each."""
    exact = np.isin(keys.exact, others.exact)
    return exact, np.isin(keys.near, others.near) & ~exact


def leaks_between(keys: Mapping[str, TextKeys], rows: Mapping[str, np.ndarray]) -> list[Leaks]:
    """Return the leaks of every pair of splits that has any; ``other`` is the earlier split of a pair."""
    found = []
    for other, split in combinations(keys, 2):
        exact, near = find_leaks(keys[split], keys[other])
        if exact.any() or near.any():
            examples = rows[split][exact | near][:NUM_EXAMPLES].tolist()
            found.append(Leaks(split, other, int(exact.sum()), int(near.sum()), examples))
    return found
