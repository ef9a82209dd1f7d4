"""Batches of the pre-training stage: one order for texts, masks and keys."""

import numpy as np
import torch

from bert_ft.data.masking import MaskedSplit, Masking
from bert_ft.data.pretraining_batches import PretrainingSplit, text_keys

from .test_augmentation import split_of
from .test_masking import VOCAB_SIZE, vocabulary

LENGTHS = [9, 3, 3, 7, 5]


def rows():
    rng = np.random.default_rng(0)
    return [rng.integers(5, VOCAB_SIZE, length) for length in LENGTHS]


def test_texts_masks_and_keys_are_in_one_order():
    split = split_of(rows())
    batch = PretrainingSplit(split, MaskedSplit(split, Masking(mlm_probability=0.5), vocabulary(), seed=1))[
        2, [4, 0, 2]
    ]
    assert len(batch) == 3
    assert batch.text.rows.tolist() == batch.masked.text.rows.tolist() == [2, 4, 0]
    assert torch.equal(batch.text.input_ids, batch.masked.text.input_ids)
    assert 0 < batch.masked.is_target.sum() < batch.text.num_tokens
    alone = PretrainingSplit(split)[0, [0]]
    assert alone.masked is None
    assert alone.text_keys.tolist() == batch.text_keys.tolist()[2:]


def test_keys_are_equal_for_equal_ids_alone():
    ids = rows()
    split = split_of([*ids, ids[1], ids[1][::-1].copy()])
    keys = text_keys(split[list(range(7))]).tolist()
    by_row = dict(zip(split[list(range(7))].rows.tolist(), keys, strict=True))
    assert by_row[1] == by_row[5]
    assert len(set(keys)) == 6
    assert text_keys(split[[]]).shape == (0,)


def test_it_moves_as_one():
    split = split_of(rows())
    batch = PretrainingSplit(split, MaskedSplit(split, Masking(), vocabulary(), seed=1))[0, [0, 1]].to("meta")
    for tensor in (
        batch.text.input_ids,
        batch.text_keys,
        batch.masked.is_target,
        batch.masked.masked.input_ids,
    ):
        assert tensor.device.type == "meta"


def test_pieces_of_masked_texts_are_the_whole():
    split = split_of(rows())
    whole = MaskedSplit(split, Masking(mlm_probability=0.5), vocabulary(), seed=1)[0, list(range(5))]
    pieces = whole.split(9)
    assert len(pieces) > 1
    assert torch.equal(torch.cat([piece.targets for piece in pieces]), whole.targets)
    assert torch.equal(torch.cat([piece.masked.input_ids for piece in pieces]), whole.masked.input_ids)
    assert whole.split(1000)[0].masked.lengths == whole.masked.lengths
