from itertools import product

import numpy as np
import pytest

from bert_ft.data.label_set_splits import spread_labels
from bert_ft.data.splits import first_occurrences, split
from bert_ft.errors import ConfigError


def random_rows(seed, num_rows=500, num_labels=6, num_keys=400):
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, num_keys, num_rows).astype(np.uint64)
    labels = rng.choice(num_labels, num_rows, p=rng.dirichlet(np.ones(num_labels)))
    labels[:num_labels] = np.arange(num_labels)
    return labels, keys


@pytest.mark.parametrize("seed", range(20))
def test_each_row_once_keys_together_every_class_in_training(seed):
    labels, keys = random_rows(seed)
    parts = split(labels, keys, validation_ratio=0.1, test_ratio=0.2, seed=seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    assert all((np.diff(rows) > 0).all() for rows in parts.values())
    key_sets = [set(keys[rows].tolist()) for rows in parts.values()]
    assert sum(map(len, key_sets)) == len(set(keys.tolist()))
    assert set(labels[parts["train"]]) == set(labels)
    assert 40 <= len(parts["validation"]) <= 50
    assert 85 <= len(parts["test"]) <= 100


def test_stratified_to_within_one_row_where_keys_differ():
    labels = np.repeat(np.arange(4), [400, 203, 57, 9])
    parts = split(labels, np.arange(len(labels)), validation_ratio=0.1, test_ratio=0.1, seed=3)
    for name in ("validation", "test"):
        assert len(parts[name]) == round(0.1 * len(labels))
        assert (np.abs(np.bincount(labels[parts[name]], minlength=4) - 0.1 * np.bincount(labels)) < 1).all()


def test_seed_decides():
    labels, keys = random_rows(0)
    one, same, other = (
        split(labels, keys, validation_ratio=0.1, test_ratio=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["test"], other["test"])


def test_golden():
    """The same rows as on the day this was written (numpy 2.4): a change here changes every user's split."""
    labels = np.arange(40) % 3
    parts = split(labels, np.arange(40), validation_ratio=0.1, test_ratio=0.1, seed=0)
    assert parts["validation"].tolist() == [18, 23, 28, 30]
    assert parts["test"].tolist() == [0, 2, 6, 34]


def test_class_of_one_row_stays_in_training():
    labels = np.array([0] * 50 + [1])
    for seed in range(20):
        parts = split(labels, np.arange(51), validation_ratio=0.4, test_ratio=0.4, seed=seed)
        assert 50 in parts["train"]


def test_class_that_only_occurs_beside_another_label_stays_in_training():
    labels = np.array([0] * 50 + [1])
    keys = np.array([*range(50), 0])  # the one row of class 1 has the text of the first of class 0
    for seed in range(20):
        parts = split(labels, keys, validation_ratio=0.4, test_ratio=0.4, seed=seed)
        assert {0, 50} <= set(parts["train"].tolist())


def test_ratio_of_zero_gives_an_empty_split():
    labels, keys = random_rows(0)
    parts = split(labels, keys, validation_ratio=0.1, test_ratio=0, seed=0)
    assert len(parts["test"]) == 0
    assert len(parts["validation"]) > 0


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ((-0.1, 0.1), r"data\.validation_ratio=-0\.1"),
        ((0.1, 1.0), r"data\.test_ratio=1\.0"),
        ((0.5, 0.5), r"data\.test_ratio=0\.5, data\.validation_ratio=0\.5"),
    ],
)
def test_ratios_out_of_range(ratios, message):
    with pytest.raises(ConfigError, match=message):
        split(np.array([0, 1]), np.array([0, 1]), validation_ratio=ratios[0], test_ratio=ratios[1], seed=0)


def test_too_few_rows():
    with pytest.raises(ConfigError, match=r"data\.test_ratio=0\.1: 4 rows \(2 different texts\) are too few"):
        split(np.array([0, 0, 1, 1]), np.array([5, 5, 6, 6]), validation_ratio=0, test_ratio=0.1, seed=0)


def test_first_occurrences():
    keys = np.array([5, 3, 5, 5, 1, 3], dtype=np.uint64)
    assert first_occurrences(keys).tolist() == [0, 1, 4]


def is_solved(labels, parts, num_parts):
    enough = labels.sum(axis=0) >= num_parts
    return all(labels[parts == part][:, enough].any(axis=0).all() for part in range(num_parts))


@pytest.mark.parametrize("num_parts", [2, 3])
def test_each_label_is_in_each_part_if_that_can_be(num_parts):
    """Of few rows with many labels, all divisions are tried."""
    rng, num_impossible = np.random.default_rng(0), 0
    shares = np.array([0.8, 0.1, 0.1][:num_parts]) / sum([0.8, 0.1, 0.1][:num_parts])
    for seed in range(60):
        size = rng.integers(num_parts, 8)
        labels = rng.random((size, rng.integers(2, 8))) < 0.4
        found = spread_labels(labels, np.ones(size, dtype=int), shares, np.random.default_rng(seed))
        if not is_solved(labels, found, num_parts):
            num_impossible += 1
            divisions = (np.array(each) for each in product(range(num_parts), repeat=int(size)))
            assert not any(is_solved(labels, each, num_parts) for each in divisions)
    assert num_impossible < 10


def test_rare_labels_that_share_rows_are_in_each_part():
    """A hidden division has each of 15 labels three times, once in each part."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        hidden = np.arange(100) % 3
        labels = np.zeros((100, 15), dtype=bool)
        for label in range(15):
            labels[[rng.choice(np.flatnonzero(hidden == part)) for part in range(3)], label] = True
        shares = np.array([0.7, 0.15, 0.15])
        found = spread_labels(labels, np.ones(100, dtype=int), shares, np.random.default_rng(seed))
        assert is_solved(labels, found, 3)
        assert np.abs(np.bincount(found) / 100 - shares).max() < 0.1
