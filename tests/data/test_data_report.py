import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from bert_ft.data.prepare import prepare
from bert_ft.data.texts import normalized
from bert_ft.tasks.single_label import SingleLabel

TRAIN = (
    ["the cat", "a dog", "the cat", "the mat sat on the mat", "b", "The  Mat"],
    ["x", "y", "x", "y", "x", "y"],
)
VALIDATION = (["the cat", "The Cat", "ca b", "ran ran", "ran ran"], ["y", "x", "x", "x", "x"])
TEST = (["dog dog", "a a"], ["x", "y"])


@pytest.fixture
def report(source_of, bert_tokenizer):
    source = source_of(train=TRAIN, validation=VALIDATION, test=TEST)
    return prepare(source.load(), bert_tokenizer, max_length=6, task=SingleLabel(), seed=0).report


def test_counts(report, bert_tokenizer):
    assert report.splits["train"].label_counts == {"x": 3, "y": 3}
    assert report.splits["validation"].label_counts == {"x": 4, "y": 1}
    assert [split.num_duplicates for split in report.splits.values()] == [1, 1, 0]
    assert [split.num_leaks for split in report.splits.values()] == [0, 1, 0]
    assert [split.num_near_leaks for split in report.splits.values()] == [0, 1, 0]
    assert report.splits["validation"].leak_rows == [1, 2]


def test_lengths_are_those_before_truncation(report, bert_tokenizer):
    for split, (texts, _) in zip(report.splits.values(), (TRAIN, VALIDATION, TEST), strict=True):
        lengths = [len(ids) for ids in bert_tokenizer(texts)["input_ids"]]
        assert split.lengths.mean == pytest.approx(np.mean(lengths))
        assert split.lengths.p50 == np.percentile(lengths, 50)
        assert split.lengths.p95 == pytest.approx(np.percentile(lengths, 95))
        assert split.lengths.max == max(lengths)
        assert split.truncated_ratio == pytest.approx(np.mean([length > 6 for length in lengths]))
        assert split.lost_ratio == pytest.approx(sum(max(length - 6, 0) for length in lengths) / sum(lengths))
    assert report.splits["train"].truncated_ratio == pytest.approx(1 / 6)


def test_conflicts_over_all_splits(report):
    assert report.num_conflicts == 1
    (conflict,) = report.conflicts
    assert conflict.text == "the cat"
    assert conflict.places == ["train row 1: x", "train row 3: x", "validation row 1: y"]


def test_warnings_name_what_they_are_about(report):
    expected = [
        r"train: 16.7% of the rows are longer than data.max_length=6",
        "train: rows that repeat the text of an earlier one: 1",
        "validation: rows that repeat the text of an earlier one: 1",
        "validation: rows with the same text as a training row: 1, with the same text except case, white space or Unicode form: 1",
        "texts with several labels: 1, e.g. 'the cat': train row 1: x, train row 3: x, validation row 1: y",
        "classes with fewer than 10 validation rows: 'x' 4, 'y' 1; their score is uncertain",
    ]
    assert len(report.warnings) == len(expected)
    assert all(warning.startswith(start) for warning, start in zip(report.warnings, expected, strict=True))


def test_clean_data_gives_no_warning(source_of, bert_tokenizer):
    texts = [
        f"{first} {second}"
        for first in ("a", "b", "cat", "dog", "mat")
        for second in ("ran", "sat", "on", "the")
    ]
    source = source_of(train=(["a", "b"], ["x", "y"]), validation=(texts, ["x", "y"] * 10), test=TEST)
    assert (
        prepare(source.load(), bert_tokenizer, max_length=6, task=SingleLabel(), seed=0).report.warnings == []
    )


def test_a_class_without_rows_is_told(source_of, bert_tokenizer):
    source = source_of(train=(["a", "b"], ["x", "y"]), validation=(["cat"], ["x"]), test=TEST)
    report = prepare(source.load(), bert_tokenizer, max_length=6, task=SingleLabel(), seed=0).report
    assert report.splits["validation"].label_counts == {"x": 1, "y": 0}
    assert report.warnings[0] == "validation: no row of y"


def test_tables_and_json(report):
    assert [row["split"] for row in report.rows()] == ["train", "validation", "test"]
    assert report.rows()[1]["leaks"] == "1"
    assert report.rows()[0]["rows cut"] == "16.7%"
    assert report.label_rows() == [
        {"label": "x", "train": "3", "validation": "4", "test": "1"},
        {"label": "y", "train": "3", "validation": "1", "test": "1"},
    ]
    assert json.loads(json.dumps(report.to_dict()))["splits"]["train"]["label_counts"] == {"x": 3, "y": 3}


@pytest.mark.parametrize("seed", range(5))
def test_equals_counting_by_hand(source_of, bert_tokenizer, seed):
    rng = np.random.default_rng(seed)
    forms = ["the cat", "The cat", "a dog", "a  dog", "b", "B", "mat", "ran on", "sat"]
    made = {
        name: (
            [forms[i] for i in rng.integers(0, len(forms), size)],
            ["x", "y", *rng.choice(["x", "y"], size - 2)],
        )
        for name, size in (("train", 8), ("validation", 9), ("test", 5))
    }
    report = prepare(
        source_of(**made).load(), bert_tokenizer, max_length=8, task=SingleLabel(), seed=0
    ).report
    train_texts = set(made["train"][0])
    train_forms = set(map(normalized, train_texts))
    labels_of = defaultdict(set)
    for name, (texts, labels) in made.items():
        split = report.splits[name]
        assert split.num_duplicates == sum(count - 1 for count in Counter(texts).values())
        if name != "train":
            assert split.num_leaks == sum(text in train_texts for text in texts)
            near = [text for text in texts if text not in train_texts and normalized(text) in train_forms]
            assert split.num_near_leaks == len(near)
        for text, label in zip(texts, labels, strict=True):
            labels_of[text].add(str(label))
    assert report.num_conflicts == sum(len(labels) > 1 for labels in labels_of.values())
