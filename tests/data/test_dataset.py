from itertools import chain

import numpy as np
import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from bert_ft.data.batching import RandomBatches
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.tokenization import tokenize

TEXTS = ["the cat sat .", "a dog", "the mat", "cats ran on the mat", "b"]
PAIRS = ["b", "the dog ran", "a", "b", "the cat"]


@pytest.fixture
def split(bert_tokenizer):
    texts = Dataset.from_dict({"text": TEXTS, "text_pair": PAIRS})
    whole = TokenizedSplit.from_columns("input", tokenize(texts, bert_tokenizer, 16), texts)
    return TokenizedSplit(
        name="train",
        columns=whole.columns,
        index=whole.index,
        texts=texts,
        rows=whole.rows + 100,
        labels=np.arange(5) * 2,
        origin="x.csv",
    )


def check(batch, positions, texts, pairs, tokenizer):
    expected = tokenizer(texts, pairs)
    assert sorted(batch.rows.tolist()) == sorted(positions)
    for i, row in enumerate(batch.rows.tolist()):
        part = slice(batch.cu_seqlens[i], batch.cu_seqlens[i + 1])
        assert batch.input_ids[part].tolist() == expected["input_ids"][row]
        assert batch.token_type_ids[part].tolist() == expected["token_type_ids"][row]


@pytest.mark.parametrize("positions", [[0], [4, 1, 3], [0, 1, 2, 3, 4]])
def test_batches_hold_the_rows_asked_for(split, positions, bert_tokenizer):
    check(split[positions], positions, TEXTS, PAIRS, bert_tokenizer)
    assert (split[positions].labels == split[positions].rows * 2).all()


def test_a_single_row(split, bert_tokenizer):
    check(split[3], [3], TEXTS, PAIRS, bert_tokenizer)


def test_select_is_a_view_with_rows_of_its_own(split, bert_tokenizer):
    part = split.select(np.array([4, 2]), "test").select(np.array([1, 0]))
    assert (part.name, part.origin, len(part)) == ("test", "x.csv", 2)
    assert part.columns is split.columns
    assert part.rows.tolist() == [103, 105]
    assert part.labels.tolist() == [4, 8]
    assert part.texts["text"][:] == [TEXTS[2], TEXTS[4]]
    assert part.lengths.tolist() == split.lengths[[2, 4]].tolist()
    check(part[[1, 0]], [0, 1], [TEXTS[2], TEXTS[4]], [PAIRS[2], PAIRS[4]], bert_tokenizer)


def test_num_truncated_follows_the_rows(bert_tokenizer):
    texts = Dataset.from_dict({"text": ["a", "a a a a", "a a"]})
    split = TokenizedSplit.from_columns("input", tokenize(texts, bert_tokenizer, 3), texts)
    assert split.select(np.array([2, 1])).num_truncated.tolist() == [1, 3]
    assert split[[0, 1]].labels is None


def test_a_loader_gives_whole_batches_in_the_samplers_order(split):
    batches = list(DataLoader(split, sampler=RandomBatches(5, 2, seed=0), batch_size=None))
    drawn = list(RandomBatches(5, 2, seed=0))
    assert [sorted(batch.rows.tolist()) for batch in batches] == [sorted(rows) for rows in drawn]
    assert sorted(chain(*drawn)) == list(range(5))
