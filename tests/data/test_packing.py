from itertools import pairwise

import numpy as np
import pytest
import torch

from bert_ft.data.packing import length_groups, pack, pad, padding_mask, unpad


def random_sequences(seed, count=40, longest=9):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 1000, size=rng.integers(1, longest + 1), dtype=np.int32) for _ in range(count)]


def sequences_of(batch):
    starts = batch.cu_seqlens.tolist()
    return [batch.input_ids[a:b].tolist() for a, b in pairwise(starts)]


@pytest.mark.parametrize("seed", range(5))
def test_pack_keeps_every_sequence_with_its_row_label_and_types(seed):
    sequences = random_sequences(seed)
    rows = np.random.default_rng(seed).permutation(len(sequences)) + 7
    types = [ids % 2 for ids in sequences]
    batch = pack(sequences, rows, token_type_ids=types, labels=rows * 3)
    by_row = dict(zip(rows.tolist(), sequences, strict=True))

    assert batch.lengths == tuple(sorted(map(len, sequences)))
    for row, label, ids in zip(batch.rows.tolist(), batch.labels.tolist(), sequences_of(batch), strict=True):
        assert ids == by_row[row].tolist()
        assert label == row * 3
    assert sorted(batch.rows.tolist()) == sorted(rows.tolist())
    assert torch.equal(batch.token_type_ids, batch.input_ids % 2)
    assert batch.position_ids.tolist() == [i for length in batch.lengths for i in range(length)]
    assert batch.input_ids.dtype == torch.int64
    assert batch.cu_seqlens.dtype == torch.int32


@pytest.mark.parametrize("max_tokens", [1, 20, 10_000])
def test_values_of_a_batch_come_back_in_the_order_that_was_given(max_tokens):
    rows = np.random.default_rng(0).permutation(40) + 7
    batch = pack(random_sequences(0), rows)
    assert batch.as_given(batch.rows).tolist() == rows.tolist()
    assert batch.to("cpu").as_given(batch.rows).tolist() == rows.tolist()
    for piece in batch.split(max_tokens):
        kept = [row for row in rows.tolist() if row in piece.rows.tolist()]
        assert piece.as_given(piece.rows).tolist() == kept


def test_equal_lengths_keep_their_order():
    batch = pack([np.array([1, 2]), np.array([3]), np.array([4, 5])], [10, 11, 12])
    assert batch.rows.tolist() == [11, 10, 12]
    assert batch.labels is None
    assert batch.token_type_ids is None


@pytest.mark.parametrize("seed", range(5))
def test_pad_equals_torch_and_unpad_is_its_inverse(seed):
    batch = pack(random_sequences(seed), range(40))
    hidden = torch.randn(batch.num_tokens, 3)
    padded = pad(hidden, batch, value=-1)
    reference = torch.nn.utils.rnn.pad_sequence(
        hidden.split(list(batch.lengths)), batch_first=True, padding_value=-1
    )
    assert torch.equal(padded, reference)
    assert torch.equal(unpad(padded, batch), hidden)
    assert padding_mask(batch).sum(1).tolist() == list(batch.lengths)


@pytest.mark.parametrize("max_tokens", [1, 5, 20, 63, 10_000])
def test_split_pieces_are_the_batch(max_tokens):
    sequences = random_sequences(3)
    batch = pack(sequences, range(40), labels=range(40), token_type_ids=[ids % 2 for ids in sequences])
    pieces = batch.split(max_tokens)
    for piece in pieces:
        assert piece.num_tokens <= max_tokens or piece.num_sequences == 1
        assert piece.cu_seqlens[0] == 0
        assert piece.cu_seqlens.diff().tolist() == list(piece.lengths)
    for name in ("input_ids", "position_ids", "rows", "labels", "token_type_ids"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), getattr(batch, name))
    assert sum((piece.lengths for piece in pieces), ()) == batch.lengths
    # none could have been joined with the next
    for one, two in pairwise(pieces):
        assert one.num_tokens + two.lengths[0] > max_tokens


def test_length_groups_cover_all_tokens():
    groups = length_groups((0, 1, 1, 3, 3, 3, 4))
    assert [(g.start, g.count, g.length) for g in groups] == [(0, 2, 1), (2, 3, 3), (11, 1, 4)]


def test_to_moves_tensors_and_keeps_the_rest():
    batch = pack(random_sequences(0), range(40))
    moved = batch.to("meta")
    assert moved.input_ids.device.type == moved.rows.device.type == "meta"
    assert moved.lengths == batch.lengths
    assert moved.labels is None
