"""Setting rows aside so that each label of rows with several is spread evenly over the splits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RARE = 2  # rows of a label in the smallest part, on average; below, its rows are dealt out first
_DRAWS = 10  # of which the first without a missing label, or else the one with the fewest, is taken
_MOST_MOVES = 300  # of groups to mend a draw; a mendable one needs a few
_RANDOM_MOVES = 0.2  # share of the moves that leave a dead end


def spread_labels(
    labels: NDArray[np.bool_], sizes: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the part of each group of rows, ``(num_groups,)``.

    A label of at least as many groups as there are parts has one in each part, which the published algorithm doesn't
    promise: rows of the rarest labels are dealt out first, the rest is iterative stratification, and groups are then moved until
    no part lacks a label. That a solution exists is a hard problem in general (coloring hypergraphs), so this is a search that
    gives up; then as few labels as it found are missing.

    Source: Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data".

    Args:
        labels: ``(num_groups, num_labels)``, whether a row of the group has the label.
        sizes: ``(num_groups,)``, rows of each group.
        shares: ``(num_parts,)``, the share of each part; they add up to 1.
        rng: decides between groups that are equally good.
    """
    best, fewest = None, np.inf
    for _ in range(_DRAWS):
        part_of = _mended(labels, _dealt(labels, sizes, shares, rng), sizes, shares, rng)
        missing = _num_missing(labels, part_of, len(shares))
        if missing < fewest:
            best, fewest = part_of, missing
        if not missing:
            break
    assert best is not None
    return best


def _num_missing(labels: NDArray[np.bool_], part_of: NDArray[np.int64], num_parts: int) -> int:
    """Return the number of pairs of a label with enough groups and a part without it."""
    enough = labels.sum(axis=0) >= num_parts
    return sum(int((enough & ~labels[part_of == part].any(axis=0)).sum()) for part in range(num_parts))


def _mended(
    labels: NDArray[np.bool_],
    part_of: NDArray[np.int64],
    sizes: NDArray[np.int64],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the parts with groups moved to where a label is missing, as in WalkSAT, then others moved to even out the sizes."""
    num_parts = len(shares)
    labels = labels & (labels.sum(axis=0) >= num_parts)  # others may be missing
    counts = np.stack([labels[part_of == part].sum(axis=0) for part in range(num_parts)])

    def missing() -> NDArray[np.int64]:
        return np.argwhere((counts == 0) & labels.any(axis=0))

    def move(group: int, part: int) -> None:
        counts[part_of[group]] -= labels[group]
        counts[part] += labels[group]
        part_of[group] = part

    if not len(missing()):
        return part_of
    for _ in range(_MOST_MOVES):
        if not len(lacking := missing()):
            break
        part, label = lacking[rng.integers(len(lacking))]
        groups = rng.permutation(np.flatnonzero(labels[:, label]))
        lost = (labels[groups] & (counts[part_of[groups]] == 1)).sum(axis=1)
        gained = (labels[groups] & (counts[part] == 0)).sum(axis=1)
        best = 0 if rng.random() < _RANDOM_MOVES else int((lost - gained).argmin())
        move(int(groups[best]), int(part))
    for _ in range(_MOST_MOVES):
        surplus = np.bincount(part_of, weights=sizes, minlength=num_parts) - shares * sizes.sum()
        short, *_, full = surplus.argsort().tolist()
        groups = rng.permutation(np.flatnonzero(part_of == full))
        is_spare = ~(labels[groups] & (counts[full] == 1)).any(axis=1)
        groups = groups[is_spare & (sizes[groups] < surplus[full] - surplus[short])]
        if not len(groups):
            break
        move(int(groups[labels[groups].sum(axis=1).argmin()]), short)
    return part_of


def _dealt(
    labels: NDArray[np.bool_], sizes: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    num_groups, num_parts = len(labels), len(shares)
    part_of = np.full(num_groups, -1)
    wanted = shares[:, None] * (labels * sizes[:, None]).sum(axis=0)  # (num_parts, num_labels)
    wanted_rows = shares * sizes.sum()

    def put(group: int, part: int) -> None:
        part_of[group] = part
        wanted[part] -= labels[group] * sizes[group]
        wanted_rows[part] -= sizes[group]

    counts = labels.sum(axis=0)
    rare = (counts >= num_parts) & (counts * shares.min() < _RARE)
    for label in np.lexsort((rng.random(len(counts)), counts)):
        if not rare[label]:
            continue
        for part in np.argsort(shares, kind="stable"):
            has = labels[part_of == part].any(axis=0)
            if has[label]:
                continue
            free = rng.permutation(np.flatnonzero(labels[:, label] & (part_of < 0)))
            if len(free):  # the group with most of what the part lacks; of these the one with fewest labels
                lacked = (labels[free] & ~has & rare).sum(axis=1)
                put(int(free[np.lexsort((labels[free].sum(axis=1), sizes[free], -lacked))[0]]), int(part))
    order = rng.permutation(num_groups)
    while (free := order[part_of[order] < 0]).size:
        left = labels[free].sum(axis=0)
        if not left.any():
            for group in free:
                put(int(group), int((-wanted_rows).argmin()))
            break
        label = np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max))
        for group in free[labels[free, label]]:
            put(int(group), int(np.lexsort((-wanted_rows, -wanted[:, label]))[0]))
    return part_of
