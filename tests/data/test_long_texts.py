"""Windows and middle cuts of tokenized rows, against transformers' own windows and plain slices."""

import re

import numpy as np
import pytest
from datasets import Dataset

from bert_ft.data.dataset import SampledWindows, TokenizedSplit
from bert_ft.data.long_texts import LongTexts, chosen, kept_positions, sampled_windows
from bert_ft.data.tokenization import tokenize
from bert_ft.errors import ConfigError

TEXTS = ["a dog", " ".join(["the cat sat on mats ."] * 9), "", "cats ran on the mat " * 3]
PAIRS = ["the cat", "a cat ran", " ".join(["the mat ."] * 4), "dog " * 17]


def rows(texts, pairs=None):
    return Dataset.from_dict({"text": texts} | ({} if pairs is None else {"text_pair": pairs}))


def sequences(columns):
    split = lambda values: [part.tolist() for part in np.split(values, columns.offsets[1:-1])]  # noqa: E731
    return split(columns.input_ids), columns.token_type_ids is not None and split(columns.token_type_ids)


@pytest.mark.parametrize("stride", [0, 3, 7])
@pytest.mark.parametrize("name", ["bert_tokenizer", "roberta_tokenizer", "minilm_tokenizer"])
def test_windows_are_those_of_transformers(name, stride, request):
    tokenizer = request.getfixturevalue(name)
    columns = tokenize(rows(TEXTS), tokenizer, 10, long_texts=LongTexts("windows", stride))
    expected = tokenizer(TEXTS, truncation=True, max_length=10, stride=stride, return_overflowing_tokens=True)
    assert sequences(columns)[0] == expected["input_ids"]
    of_row = np.bincount(expected["overflow_to_sample_mapping"])
    assert np.diff(columns.row_offsets).tolist() == of_row.tolist()
    assert columns.full_lengths.tolist() == [len(ids) for ids in tokenizer(TEXTS)["input_ids"]]
    assert not columns.num_truncated.any()


def test_the_stride_is_the_overlap(minilm_tokenizer):
    texts = rows(["dog " * length for length in (1, 126, 127, 236, 237, 1000)])
    columns = tokenize(texts, minilm_tokenizer, 128, long_texts=LongTexts("windows", 16))
    assert np.diff(columns.row_offsets).tolist() == [1, 1, 2, 2, 3, 9]
    assert (columns.full_lengths[-1], columns.lengths[-1]) == (1002, 1146)
    assert not columns.num_truncated.any()


@pytest.mark.parametrize("windowed", ["first", "second"])
@pytest.mark.parametrize("name", ["bert_tokenizer", "roberta_tokenizer"])
def test_each_window_of_a_pair_has_the_whole_other_text(name, windowed, request):
    tokenizer = request.getfixturevalue(name)
    texts, pairs = TEXTS[:2], PAIRS[:2]
    if windowed == "second":
        texts, pairs = pairs, texts
    columns = tokenize(rows(texts, pairs), tokenizer, 16, long_texts=LongTexts("windows", 2, windowed))
    expected = tokenizer(
        texts, pairs, truncation=f"only_{windowed}", max_length=16, stride=2, return_overflowing_tokens=True
    )
    ids, types = sequences(columns)
    assert ids == expected["input_ids"]
    assert not columns.num_truncated.any()
    for window, of_window in zip(ids, types or [], strict=False):  # 0 up to the first [SEP], then 1
        first = window.index(tokenizer.sep_token_id) + 1
        assert of_window == [0] * first + [1] * (len(window) - first)


def test_the_other_text_of_a_pair_is_cut_only_where_no_window_could_advance(bert_tokenizer):
    long, longer = "dog " * 12, "cat " * 40
    windows = LongTexts("windows", 2)
    columns = tokenize(
        rows([long, longer, longer], [longer, "dog", longer]), bert_tokenizer, 16, long_texts=windows
    )
    room = 13
    assert columns.num_truncated.tolist() == [12 - 6, 40 - (room - 1), 40 - 6]
    assert np.diff(columns.row_offsets).tolist() == [8, 1, 8]  # ⌈(40 - 2) / (7 - 2)⌉ windows of 7
    assert max(map(len, sequences(columns)[0])) == 16


def test_the_middle_is_cut_out_of_each_text(bert_tokenizer):
    words = ["the", "cat", "sat", "on", "mats", ".", "a", "dog", "ran", "b"]
    columns = tokenize(rows([" ".join(words)]), bert_tokenizer, 9, long_texts=LongTexts(keeps_ends=True))
    assert sequences(columns)[0] == bert_tokenizer([" ".join(words[:4] + words[-3:])])["input_ids"]
    assert columns.num_truncated.tolist() == [4]  # "mats" is two
    pair = tokenize(
        rows(["a dog"], [" ".join(words)]), bert_tokenizer, 9, long_texts=LongTexts(keeps_ends=True)
    )
    expected = bert_tokenizer(["a dog"], [" ".join(words[:2] + words[-2:])])
    assert sequences(pair) == (expected["input_ids"], expected["token_type_ids"])
    assert kept_positions(3, 8).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("pairs", "most"), [(None, 13), (PAIRS, 6)])
def test_a_stride_that_would_not_advance(bert_tokenizer, pairs, most):
    tokenize(rows(TEXTS, pairs), bert_tokenizer, 16, long_texts=LongTexts("windows", most))
    with pytest.raises(ConfigError, match=rf"data\.stride={most + 1}: .* at most {most};"):
        tokenize(rows(TEXTS, pairs), bert_tokenizer, 16, long_texts=LongTexts("windows", most + 1))
    tokenize(rows(TEXTS, pairs), bert_tokenizer, 16, long_texts=LongTexts(stride=most + 1))  # a cut has none


def test_the_cache_knows_the_settings(cache_dir, bert_tokenizer):
    settings = [
        LongTexts(),
        LongTexts(stride=5),  # the same: it is unused
        LongTexts(keeps_ends=True),
        LongTexts("windows", 1),
        LongTexts("windows", 2),
        LongTexts("windows", 2, "first"),
    ]
    for each in settings:
        tokenize(rows(TEXTS, PAIRS), bert_tokenizer, 12, long_texts=each)
        assert LongTexts.restored(each.described()).described() == each.described()
    assert len(list(cache_dir.glob("tokens-*"))) == 5


@pytest.mark.parametrize(
    ("lengths", "mode", "reason"),
    [
        (
            [5, 16],
            "cut",
            r"no training text is longer than data\.max_length=16 \(the encoder takes up to 64\)",
        ),
        (
            [*[16] * 99, 20],
            "cut",
            r"1\.0% of the training texts .* the longest has 20 tokens, .* lose 0\.2% .* 1%",
        ),
        ([5, 100], "windows", r"50\.0% of the training texts .* lose 80\.0% of all tokens"),
    ],
)
def test_auto_says_what_it_chose(lengths, mode, reason):
    settings, said = chosen(LongTexts("auto", 3), np.array(lengths), 16, 64)
    assert settings == LongTexts(mode, 3)
    assert re.fullmatch(rf"data\.long_texts=auto: chose {mode}: {reason}", said), said


def test_windows_are_drawn_from_all_over_the_text():
    drawn = [sampled_windows([10, 3], [7, 8], 3, 0, epoch) for epoch in range(200)]
    assert all(other.tolist() == [0, 1, 2] for _, other in drawn)
    for windows, _ in drawn:
        assert ((windows >= [0, 3, 6]) & (windows < [3, 6, 10])).all()
    assert {number for windows, _ in drawn for number in windows.tolist()} == set(range(10))
    assert [each.tolist() for each in sampled_windows([10, 3], [7, 8], 3, 0, 5)] == [
        each.tolist() for each in drawn[5]
    ]


def test_a_batch_has_the_drawn_windows(bert_tokenizer):
    texts = rows(TEXTS)
    columns = tokenize(texts, bert_tokenizer, 10, long_texts=LongTexts("windows", 2))
    split = TokenizedSplit.from_columns("train", columns, texts).select(np.array([3, 0, 1]))
    whole = split[[2, 1, 0]]
    assert (len(whole), whole.num_sequences) == (3, split.num_windows.sum())
    assert whole.rows.tolist() == [2, 1, 0]
    assert whole.cu_windows.diff().tolist() == split.num_windows[[2, 1, 0]].tolist()
    lengths = np.array(whole.lengths)[whole.window_order]
    of_row = np.split(split.window_lengths, np.cumsum(split.num_windows)[:-1])
    assert lengths.tolist() == np.concatenate([of_row[row] for row in (2, 1, 0)]).tolist()
    assert (split.window_lengths[whole.window_ids] == np.array(whole.lengths)).all()
    some = SampledWindows(split, 2, seed=0)[(0, [2, 1])]
    assert some.cu_windows.diff().tolist() == [2, 1]
    assert split[[1]].cu_windows is None  # a text of one window is packed as without windows
    assert split[[1]].window_ids.tolist() == [split.num_windows[0]]
