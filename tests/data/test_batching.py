from itertools import chain

import numpy as np
import pytest

from bert_ft.data.batching import FixedBatches, NumberedBatches, RandomBatches, SortedBatches


@pytest.mark.parametrize("num_rows", [1, 7, 8, 33])
@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_each_row_once_an_epoch_and_exact_length(num_rows, batch_size):
    batches = RandomBatches(num_rows, batch_size, seed=1)
    epoch = list(batches)
    assert len(epoch) == len(batches)
    assert sorted(chain(*epoch)) == list(range(num_rows))
    assert all(len(batch) == batch_size for batch in epoch[:-1])


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("num_rows", [2, 10, 41])
def test_replicas_share_the_rows_and_have_equally_many_batches(num_rows, drop_last):
    ranks = [
        RandomBatches(num_rows, 4, 0, num_replicas=3, rank=rank, drop_last=drop_last) for rank in range(3)
    ]
    epochs = [list(rank) for rank in ranks]
    assert {len(epoch) for epoch in epochs} == {len(ranks[0])}
    rows = sorted(row for epoch in epochs for batch in epoch for row in batch)
    if drop_last:
        assert len(set(rows)) == len(rows) == len(ranks[0]) * 12
    else:
        assert set(rows) == set(range(num_rows))
        assert len(rows) == -(-num_rows // 3) * 3


def test_order_depends_on_seed_and_epoch_only():
    def epoch_of(seed, epoch):
        batches = RandomBatches(100, 8, seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert epoch_of(0, 3) == epoch_of(0, 3)
    assert epoch_of(0, 3) != epoch_of(0, 4)
    assert epoch_of(0, 3) != epoch_of(1, 3)
    by_itself = RandomBatches(100, 8, 0)
    assert [list(by_itself) for _ in range(4)] == [epoch_of(0, epoch) for epoch in range(4)]


def test_a_batch_is_a_fair_sample():
    counts = np.zeros(20)
    batches = RandomBatches(20, 5, seed=0)
    num_epochs = 2000
    for _ in range(num_epochs):
        counts[next(iter(list(batches)))] += 1
    # each row is in the first batch a quarter of the time: binomial, 5 standard deviations
    assert (np.abs(counts - num_epochs / 4) < 5 * np.sqrt(num_epochs * 3 / 16)).all()


def test_resume_in_mid_epoch():
    whole = RandomBatches(50, 4, seed=2)
    expected = list(whole) + list(whole)
    broken = RandomBatches(50, 4, seed=2)
    iterator = iter(broken)
    seen = [next(iterator) for _ in range(5)]
    state = broken.state_dict()
    assert state == {"epoch": 0, "position": 5}
    resumed = RandomBatches(50, 4, seed=2)
    resumed.load_state_dict(state)
    resumed.set_epoch(0)  # Lightning calls it before it iterates: must not rewind
    seen += list(resumed)
    resumed.set_epoch(1)
    assert seen + list(resumed) == expected


def test_another_epoch_starts_at_its_beginning():
    batches = RandomBatches(50, 4, seed=2)
    next(iter(batches))
    batches.set_epoch(1)
    assert len(list(batches)) == len(batches)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("num_replicas", [1, 3])
def test_sorted_batches_hold_every_row_once_within_both_limits(seed, num_replicas):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, size=rng.integers(num_replicas, 200))
    ranks = [SortedBatches(lengths, 8, 100, num_replicas, rank) for rank in range(num_replicas)]
    batches = [batch for rank in ranks for batch in rank]
    assert sorted(chain(*batches)) == list(range(len(lengths)))
    assert all(len(batch) <= 8 for batch in batches)
    assert all(lengths[batch].sum() <= 100 for batch in batches)
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(rank) == len(list(rank)) for rank in ranks)
    for rank in ranks:
        longest = [lengths[batch].max() for batch in rank]
        assert longest == sorted(longest, reverse=True)


def test_sorted_batches_are_as_few_as_neighbours_allow():
    assert list(SortedBatches(np.array([1, 9, 4, 4, 2]), 3, 9)) == [[1], [2, 3], [4, 0]]
    assert list(SortedBatches(np.array([1, 9, 4, 4, 2]), 3)) == [[1, 2, 3], [4, 0]]


def test_a_row_beyond_the_token_limit_is_a_batch_by_itself():
    assert list(SortedBatches(np.array([5, 500, 5]), 8, 100)) == [[1], [0, 2]]


def test_fewer_rows_than_replicas():
    ranks = [list(SortedBatches(np.array([3, 2]), 8, 100, 4, rank)) for rank in range(4)]
    assert ranks == [[[0]], [[1]], [], []]


def test_numbered_batches_are_the_random_ones_with_their_epoch():
    numbered, plain = NumberedBatches(50, 4, seed=2), RandomBatches(50, 4, seed=2)
    for epoch in range(3):
        assert list(numbered) == [(epoch, rows) for rows in plain]
        assert len(numbered) == len(plain)


def test_numbered_batches_resume_and_jump_as_the_random_ones():
    whole = [*(numbered := NumberedBatches(50, 4, seed=2)), *numbered]
    broken = NumberedBatches(50, 4, seed=2)
    iterator = iter(broken)
    seen = [next(iterator) for _ in range(5)]
    resumed = NumberedBatches(50, 4, seed=2)
    resumed.load_state_dict(broken.state_dict())
    resumed.set_epoch(0)
    assert seen + list(resumed) + list(resumed) == whole
    resumed.set_epoch(7)
    assert {epoch for epoch, _ in resumed} == {7}


class TestFixedBatches:
    def test_every_row_once_in_one_order_without_regard_to_length(self):
        batches = FixedBatches(23, 5, seed=1)
        found = list(batches)
        assert found == list(batches)
        assert {epoch for epoch, _ in found} == {0}
        rows = [row for _, rows in found for row in rows]
        assert sorted(rows) == list(range(23)) != rows
        assert [len(rows) for _, rows in found] == [5, 5, 5, 5, 3]
        assert rows != [row for _, rows in FixedBatches(23, 5, seed=2) for row in rows]

    def test_replicas_share_the_rows_in_equally_many_batches(self):
        parts = [list(FixedBatches(21, 5, seed=1, num_replicas=2, rank=rank)) for rank in (0, 1)]
        assert len(parts[0]) == len(parts[1]) == 3
        assert sorted(row for part in parts for _, rows in part for row in rows) == list(range(21))
