"""Set rows aside for validation and test, and drop copies."""

from __future__ import annotations

import numpy as np

from bert_ft.data.label_set_splits import spread_labels
from bert_ft.errors import ConfigError
from bert_ft.limits import BelowOne, within_limits

SPLIT_NAMES = ("train", "validation", "test")


def first_occurrences(keys: np.ndarray) -> np.ndarray:
    """Return sorted indices of the rows whose key doesn't occur in an earlier row."""
    return np.sort(np.unique(keys, return_index=True)[1])


@within_limits("data")
def split(
    strata: np.ndarray, keys: np.ndarray, *, validation_ratio: BelowOne, test_ratio: BelowOne, seed: int
) -> dict[str, np.ndarray]:
    """Return sorted row indices for ``train``, ``validation`` and ``test``, stratified.

    Rows of one key stay together. Each stratum keeps a row in training, so one of few rows may be
    missing elsewhere. The size of a split is its ratio of the rows, rounded but at least 1; it can fall
    short of that where many rows share a key. A ratio of 0 gives an empty split.

    Args:
        strata: ``(num_rows,)`` int64 from 0 up, e.g. class ids; or ``(num_rows, num_labels)`` bool, see ``spread_labels``.
        keys: ``(num_rows,)``, equal for equal texts.
        validation_ratio: share of all rows.
        test_ratio: the same for the test split.
        seed: decides which rows; equal seeds give equal splits on any machine.

    Raises:
        ConfigError: the ratios leave nothing for training or one is negative, or there are too few rows.
    """
    ratios = {"test": test_ratio, "validation": validation_ratio}
    _check_ratios(ratios)
    rng = np.random.default_rng(seed)
    _, first, group_of, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    if strata.ndim == 2:
        part_of = _spread(strata, group_of, sizes, ratios, rng)
    else:
        part_of = _by_stratum(strata, group_of, first, sizes, ratios, rng)
    parts = {name: np.flatnonzero(part_of[group_of] == part) for part, name in enumerate(SPLIT_NAMES)}
    for name in (name for name, ratio in ratios.items() if ratio and not len(parts[name])):
        raise ConfigError(
            f"data.{name}_ratio={ratios[name]}: {len(strata)} rows ({len(sizes)} different texts) are too few "
            f"to set some aside; give data.{name}_file or more rows"
        )
    return parts


def _spread(
    labels: np.ndarray,
    group_of: np.ndarray,
    sizes: np.ndarray,
    ratios: dict[str, float],
    rng: np.random.Generator,
) -> np.ndarray:
    of_groups = np.zeros((len(sizes), labels.shape[1]), dtype=bool)
    np.logical_or.at(of_groups, group_of, labels)
    used = ["train", *(name for name in SPLIT_NAMES if ratios.get(name))]
    shares = np.array([1 - sum(ratios.values()), *(ratios[name] for name in used[1:])])
    numbers = np.array([SPLIT_NAMES.index(name) for name in used])
    return numbers[spread_labels(of_groups, sizes, shares, rng)]


def _by_stratum(
    strata: np.ndarray,
    group_of: np.ndarray,
    first: np.ndarray,
    sizes: np.ndarray,
    ratios: dict[str, float],
    rng: np.random.Generator,
) -> np.ndarray:
    rank = rng.permutation(len(sizes))[group_of]  # rows of one key have one rank
    quotas = {name: _quotas(strata, ratio, rng) for name, ratio in ratios.items()}
    kept = _one_group_per_stratum(strata, rank, group_of)

    part_of = np.zeros(len(sizes), dtype=np.int8)
    by_rank = np.argsort(rank[first])
    for group in by_rank[~np.isin(by_rank, kept)].tolist():
        size, stratum = int(sizes[group]), strata[first[group]]
        for name in ratios:
            if size <= quotas[name][stratum]:
                quotas[name][stratum] -= size
                part_of[group] = SPLIT_NAMES.index(name)
                break
    return part_of


def _check_ratios(ratios: dict[str, float]) -> None:
    if sum(ratios.values()) >= 1:
        given = ", ".join(f"data.{name}_ratio={ratio}" for name, ratio in ratios.items())
        raise ConfigError(f"{given}: together they must be below 1, so that training keeps rows")


def _quotas(strata: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return the number of rows to take from each stratum, by largest remainder; ties are drawn at random."""
    if ratio == 0:
        return np.zeros(strata.max() + 1, dtype=np.int64)
    counts = np.bincount(strata)
    total = max(1, round(ratio * len(strata)))
    shares = total * counts / len(strata)
    quotas = np.floor(shares).astype(np.int64)
    order = np.lexsort((rng.random(len(counts)), quotas - shares))
    quotas[order[: total - quotas.sum()]] += 1
    return quotas


def _one_group_per_stratum(strata: np.ndarray, rank: np.ndarray, group_of: np.ndarray) -> np.ndarray:
    """Return each stratum's first group by rank."""
    by_rank = np.argsort(rank, kind="stable")
    _, position = np.unique(strata[by_rank], return_index=True)
    return group_of[by_rank[position]]
