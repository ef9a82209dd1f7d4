"""Augmented texts: how much changes, what never does, and that it repeats."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from datasets import Dataset

from bert_ft.data.augmentation import Augmentation, AugmentedSplit, delete, spans, swap
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.tokenization import TokenizedColumns, tokenize
from bert_ft.errors import ConfigError

CLS, SEP, MASK = 2, 3, 4
SPECIAL = (0, CLS, SEP, MASK)
NUM_TOKENS = 100_000
HEAVY = Augmentation(token_deletion_prob=0.3, token_swap_prob=0.5, span_mask_ratio=0.3)


def generator(seed=0):
    return np.random.default_rng(seed)


def within_5_deviations(count, probability, num_trials=NUM_TOKENS):
    return abs(count - num_trials * probability) < 5 * np.sqrt(num_trials * probability * (1 - probability))


def split_of(rows, *, types=None, labels=None):
    """A split of the given ids."""
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in rows])]).astype(np.int64)
    joined = np.concatenate([np.asarray(ids, np.int32) for ids in rows])
    joined_types = None if types is None else np.concatenate([np.asarray(row, np.int8) for row in types])
    columns = TokenizedColumns(joined, offsets, np.zeros(len(rows), np.int32), joined_types)
    texts = Dataset.from_dict({"text": [""] * len(rows)})
    index = np.arange(len(rows))
    return TokenizedSplit(
        name="train", columns=columns, index=index, texts=texts, rows=index + 1, labels=labels
    )


def augmented(split, augmentation=HEAVY, seed=0, mask_id=MASK):
    return AugmentedSplit(split, augmentation, seed, SPECIAL, mask_id)


def by_row(batch, values=None):
    """The ids (or other values of the tokens) of each row of a batch."""
    values = (batch.input_ids if values is None else values).tolist()
    pieces = [values[start:stop] for start, stop in pairwise(batch.cu_seqlens.tolist())]
    return dict(zip(batch.rows.tolist(), pieces, strict=True))


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5])
def test_deletion_rate(probability):
    kept = delete(np.zeros(NUM_TOKENS, int), probability, generator())
    assert (np.diff(kept) > 0).all()
    assert (len(kept) == NUM_TOKENS) if probability == 0 else within_5_deviations(len(kept), 1 - probability)


def test_deletion_leaves_special_tokens_and_one_token_of_each_text():
    segments = np.array([-1, 1, 1, 1, -1, 2, -1, -1, 3, 3, -1])
    positions = np.zeros(len(segments))
    for seed in range(300):
        kept = delete(segments, 0.95, generator(seed))
        assert set(np.flatnonzero(segments < 0)) <= set(kept)
        assert {1, 2, 3} == set(segments[kept][segments[kept] >= 0])
        positions[kept] += 1
    # of the first text, whose tokens nearly all go, each is sometimes the one that stays: a third of the time
    assert (np.abs(positions[1:4] - 100) < 5 * np.sqrt(300 * 2 / 9) + 300 * 0.05).all()


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_swap_rate_is_that_of_random_transpositions(rate):
    """Against the closed form: after m swaps a token of n is at home with 1/n + (1 - 1/n) (1 - 2/(n - 1))^m."""
    length = 1000
    rng = generator()
    moved = 0
    for _ in range(NUM_TOKENS // length):
        ids = np.arange(length)
        swapped = swap(ids, np.zeros(length, int), rate, rng)
        assert sorted(swapped) == ids.tolist()
        moved += int((swapped != ids).sum())
    home = 1 / length + (1 - 1 / length) * (1 - 2 / (length - 1)) ** round(rate * length)
    # a swap moves two at a time: twice the variance
    assert abs(moved - NUM_TOKENS * (1 - home)) <= 5 * np.sqrt(2 * NUM_TOKENS * home * (1 - home))
    assert (moved > 0) == (rate > 0)


def test_swap_changes_places_within_a_text_alone():
    segments = np.array([-1, 1, 1, 1, 1, -1, 2, 2, 2, -1, 3, -1])
    ids = np.arange(len(segments))
    seen = [swap(ids, segments, 1.0, generator(seed)) for seed in range(50)]
    for swapped in seen:
        for segment in (-1, 1, 2, 3):
            assert set(swapped[segments == segment]) == set(ids[segments == segment])
        assert (swapped[segments == -1] == ids[segments == -1]).all()
    assert len({tuple(swapped) for swapped in seen}) > 20
    assert (ids == np.arange(len(segments))).all()  # what it was given is left as it was


@pytest.mark.parametrize("share", [0.01, 0.15, 0.5, 0.99])
@pytest.mark.parametrize("length", [1, 2, 7, 40, 1000])
def test_exactly_the_share_is_masked(share, length):
    allowed = np.ones(length + 2, dtype=bool)
    allowed[[0, -1]] = False
    for seed in range(5):
        hidden = spans(allowed, share, 3.0, generator(seed))
        assert hidden.sum() == round(share * length)
        assert not hidden[~allowed].any()


def runs(hidden):
    """The lengths of the runs of hidden tokens."""
    edges = np.diff(np.concatenate([[0], hidden.astype(int), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


@pytest.mark.parametrize("mean_length", [1.0, 3.0, 5.0])
def test_spans_have_the_mean_length(mean_length):
    """So few that they rarely meet; the geometric distribution is cut at 10."""
    rng = generator()
    allowed = np.ones(NUM_TOKENS, dtype=bool)
    lengths = np.concatenate([runs(spans(allowed, 0.01, mean_length, rng)) for _ in range(10)])
    stop = 1 / mean_length
    expected = (1 - (1 - stop) ** 10) / stop
    # some meet: 1 % of the tokens, one or two of them beside each end
    tolerance = 5 * np.sqrt(1 - stop) / stop / np.sqrt(len(lengths)) + 0.03 * expected
    assert abs(lengths.mean() - expected) < tolerance
    assert np.quantile(lengths, 0.99) <= 11


def test_spans_begin_anywhere():
    counts = sum(
        spans(np.ones(50, dtype=bool), 0.02, 1.0, generator(seed)).astype(int) for seed in range(5000)
    )
    assert (np.abs(counts - 100) < 5 * np.sqrt(100)).all()


def pairs(num_rows, seed=0):
    """Rows [CLS] a [SEP] b [SEP], a's tokens below 200 and b's above, with their token types."""
    rng = generator(seed)
    rows, types = [], []
    for _ in range(num_rows):
        first = rng.integers(100, 200, size=rng.integers(1, 20))
        second = rng.integers(200, 300, size=rng.integers(1, 20))
        rows.append([CLS, *first, SEP, *second, SEP])
        types.append([0] * (len(first) + 2) + [1] * (len(second) + 1))
    return rows, types


@pytest.mark.parametrize(
    "augmentation",
    [
        HEAVY,
        Augmentation(token_deletion_prob=0.9),
        Augmentation(token_swap_prob=0.9),
        Augmentation(span_mask_ratio=0.9),
    ],
    ids=["all", "dropout", "swap", "masking"],
)
def test_special_tokens_stay_and_tokens_stay_in_their_text(augmentation):
    rows, types = pairs(200)
    batch = augmented(split_of(rows, types=types), augmentation)[0, range(200)]
    new_types = by_row(batch, batch.token_type_ids)
    num_changed = 0
    for row, ids in by_row(batch).items():
        assert [token for token in ids if token in (CLS, SEP)] == [CLS, SEP, SEP]
        assert (ids[0], ids[-1]) == (CLS, SEP)
        middle = ids.index(SEP)
        first, second = ids[1:middle], ids[middle + 1 : -1]
        assert first
        assert second
        assert all(token == MASK or 100 <= token < 200 for token in first)
        assert all(token == MASK or 200 <= token < 300 for token in second)
        assert new_types[row] == [0] * (len(first) + 2) + [1] * (len(second) + 1)
        # nothing is made up
        assert not {*first, *second} - {*rows[row], MASK}
        num_changed += ids != rows[row]
    assert num_changed > 150


def test_masking_counts_both_texts_of_a_pair_together():
    rows, types = pairs(100)
    batch = augmented(split_of(rows, types=types), Augmentation(span_mask_ratio=0.25))[0, range(100)]
    for row, ids in by_row(batch).items():
        assert ids.count(MASK) == round(0.25 * (len(ids) - 3))
        assert len(ids) == len(rows[row])
        assert all(new in (old, MASK) for new, old in zip(ids, rows[row], strict=True))


def test_swap_alone_keeps_the_tokens():
    rows, _ = pairs(100)
    for row, ids in by_row(
        augmented(split_of(rows), Augmentation(token_swap_prob=0.5))[0, range(100)]
    ).items():
        assert sorted(ids) == sorted(rows[row])


def test_texts_without_token_types():
    batch = augmented(split_of(pairs(10)[0]))[0, range(10)]
    assert batch.token_type_ids is None


def fields(batch):
    return {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}


def test_nothing_asked_for_changes_nothing():
    rows, types = pairs(50)
    split = split_of(rows, types=types, labels=np.arange(50))
    assert not Augmentation()
    ours, plain = augmented(split, Augmentation())[0, range(50)], split[range(50)]
    assert fields(ours).keys() == fields(plain).keys()
    assert all(torch.equal(value, fields(plain)[name]) for name, value in fields(ours).items())
    assert ours.lengths == plain.lengths


@pytest.mark.parametrize("key", ["token_deletion_prob", "token_swap_prob", "span_mask_ratio"])
def test_each_technique_by_itself_counts_as_augmentation(key):
    assert Augmentation(**{key: 0.1})


def test_labels_and_rows_go_with_their_texts():
    rows, types = pairs(50)
    split = split_of(rows, types=types, labels=np.arange(50) * 2)
    batch = augmented(split)[3, [4, 40, 7]]
    assert sorted(batch.rows.tolist()) == [4, 7, 40]
    assert (batch.labels == 2 * batch.rows).all()
    assert list(batch.lengths) == sorted(batch.lengths)
    assert batch.cu_seqlens.diff().tolist() == list(batch.lengths)
    assert len(augmented(split)) == 50


def test_a_change_depends_on_seed_epoch_and_row_alone():
    rows, types = pairs(40)
    rows[7] = rows[3]
    types[7] = types[3]
    split = split_of(rows, types=types)
    together = by_row(augmented(split)[5, range(40)])
    for row in (0, 3, 39):
        assert by_row(augmented(split)[5, [row]])[row] == together[row]
        assert by_row(augmented(split)[5, [39, row, 1]])[row] == together[row]
    assert together[7] != together[3]  # the same text in another row
    for other in (augmented(split)[6, range(40)], augmented(split, seed=1)[5, range(40)]):
        assert sum(by_row(other)[row] != ids for row, ids in together.items()) > 35


@pytest.mark.parametrize(
    "ids", [[], [CLS, SEP], [CLS, SEP, SEP], [CLS, 50, SEP], [50], [50, 51], [CLS, SEP, 50, SEP]]
)
def test_rows_of_almost_nothing(ids):
    words = [token for token in ids if token not in SPECIAL]
    split = split_of([ids, [CLS, *range(100, 120), SEP]])
    for epoch in range(20):
        found = by_row(augmented(split)[epoch, [0, 1]])[0]
        assert [token for token in found if token in (CLS, SEP)] == [
            token for token in ids if token in (CLS, SEP)
        ]
        assert bool(words) == any(token not in (CLS, SEP) for token in found)


def test_one_token_is_not_masked_by_less_than_half():
    """round(0.3 · 1) is 0: the share is of the tokens that there are."""
    split = split_of([[CLS, 50, SEP]])
    batch = augmented(split, Augmentation(span_mask_ratio=0.3))[0, [0]]
    assert batch.input_ids.tolist() == [CLS, 50, SEP]


def test_roberta_pairs_are_two_texts(roberta_tokenizer):
    """Their texts are parted by two special tokens, and there are no token types."""
    texts = Dataset.from_dict({"text": ["the cat"] * 30, "text_pair": ["qzx"] * 30})
    split = TokenizedSplit.from_columns("input", tokenize(texts, roberta_tokenizer, 32), texts)
    special = roberta_tokenizer.all_special_ids
    augmentation = Augmentation(token_deletion_prob=0.3, token_swap_prob=0.9)
    batch = AugmentedSplit(split, augmentation, 0, special, roberta_tokenizer.mask_token_id)[0, range(30)]
    words = set(roberta_tokenizer("the cat", add_special_tokens=False)["input_ids"])
    others = set(roberta_tokenizer("qzx", add_special_tokens=False)["input_ids"])
    assert not words & others
    end = roberta_tokenizer.eos_token_id
    for ids in by_row(batch).values():
        middle = ids.index(end)
        assert ids[middle + 1] == end
        assert set(ids[1:middle]) <= words
        assert set(ids[middle + 2 : -1]) <= others


@pytest.mark.parametrize(
    ("key", "value", "limits"),
    [
        ("token_deletion_prob", -0.1, "a number ≥ 0 and < 1"),
        ("token_deletion_prob", 1.0, "a number ≥ 0 and < 1"),
        ("token_swap_prob", 2, "a number ≥ 0 and < 1"),
        ("span_mask_ratio", float("nan"), "a number ≥ 0 and < 1"),
        ("mean_span_length", 0.5, "a number ≥ 1"),
        ("mean_span_length", float("nan"), "a number ≥ 1"),
    ],
)
def test_out_of_range(key, value, limits):
    with pytest.raises(ConfigError, match=rf"data\.augmentation\.{key}={value}: must be {limits}"):
        Augmentation(**{key: value})
