"""Settings from Python as overrides, and rows as ``fit`` takes them: nothing is trained."""

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from bert_ft.api.override_words import encoder_words, override, words_of
from bert_ft.api.training_rows import check_classes, rows_of
from bert_ft.config.composition import judged
from bert_ft.config.text_values import with_quoted_texts


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.lr", np.float64(2e-4)),
        ("optimizer.head_lr", None),
        ("trainer.compile", True),
        ("data.train_file", "odd name, (1)=[a].csv"),
        ("model.head.hidden_sizes", [384, 96]),
        ("model.head.hidden_sizes", ()),
        ("data.tokenizer.added_tokens", ["covid19", "<url>", "a,b"]),
        ("loss.class_weights", "balanced"),
    ],
)
def test_a_value_arrives_as_it_was_given(key, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd name, (1)=[a].csv").write_text("text,label\n")
    files = [] if key == "data.train_file" else ["data.train_file='odd name, (1)=[a].csv'"]
    node = judged("train", with_quoted_texts(["data=files", *files, override(key, value)]))
    for name in key.split("."):
        node = node[name]
    assert node == (list(value) if isinstance(value, tuple) else value)


def test_groups_are_chosen_before_keys_are_set():
    words = words_of({"averaging.start_ratio": 0.3, "averaging": "swa", "unfreezing": None})
    assert words == ["averaging=swa", "unfreezing=none", "averaging.start_ratio=0.3"]
    assert encoder_words("bert_base") == ["encoder=bert_base"]
    assert encoder_words("my/encoder") == ["encoder=any", "encoder.name_or_path=my/encoder"]


def test_rows_of_lists_and_frames_are_the_same():
    texts, labels = ["a", "b"], [1, 2]
    lists = rows_of(texts, labels, "text", "label", "rows")
    frame = pd.DataFrame({"review": texts, "stars": labels}, index=[5, 5])
    of_frame = rows_of(frame, None, "review", "stars", "rows")
    assert lists.labels == of_frame.labels == rows_of(frame, frame["stars"], "review", "-", "rows").labels
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    named = rows_of(
        Dataset.from_dict({"text": texts, "label": [1, 0]}, features), None, "text", "label", "rows"
    )
    assert named.labels == ["pos", "neg"]
    pairs = rows_of([("a", "x"), ["b", "y"]], labels, "text", "label", "rows")
    assert (pairs.table["text"], pairs.table["text_pair"]) == (["a", "b"], ["x", "y"])


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a"] * 10, ["x"] * 9, "10 texts but 9 labels"),
        ([], [], "there are no rows"),
        ("a", ["x"], "got one text"),
        (["a"], None, "texts but no labels"),
        (["a", "b"], ["x", None], "position 1: the label is missing"),
        (["a", "b"], [1.0, float("nan")], "position 1: the label is missing"),
        ([("a", "b"), "c"], ["x", "y"], "position 1: 'c' isn't a pair"),
        ({"review": ["a"], "label": ["x"]}, None, r"no column 'text'; .*'review'.*set text="),
        (["a", "b"], ["x", "x"], "all 2 labels are 'x'"),
        (["a", "b", "c"], ["x", "x", "y"], "only 1 row of 'y'"),
    ],
)
def test_rows_that_cant_be_learned_from_are_named(texts, labels, message):
    with pytest.raises(ValueError, match=message):
        check_classes(rows_of(texts, labels, "text", "label", "the rows"), "the rows", sets_aside=True)
