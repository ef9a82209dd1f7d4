"""A file in, the same file with labels out."""

import csv
import datetime
import json

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import torch

from bert_ft.data.packing import pack
from bert_ft.data.sources import read_rows
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import ConfigError, DataError
from bert_ft.inference.device import choose_device
from bert_ft.inference.files import predict_file
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import build_linear
from bert_ft.models.encoder import EncoderSpec
from bert_ft.tasks.single_label import SingleLabel
from tests.conftest import make_rows

TEXTS = [text for text, _ in make_rows(30, seed=5)] + ['with "quotes", commas\nand a line', "NA", "7"]


@pytest.fixture
def bundle(tiny_encoder, tmp_path):
    torch.manual_seed(0)  # of the head: with others a text may lie so near the border that rounding decides
    classifier = build_linear(
        EncoderSpec(str(tiny_encoder)), SingleLabel(("no", "yes")).config_entries(), dropout=None
    )
    # an untrained encoder says nearly the same of every text: centre the logits, so that labels differ
    tokenizer = load_tokenizer(tiny_encoder)
    batch = pack([np.array(tokenizer(text)["input_ids"]) for text in TEXTS[:30]], range(30))
    with torch.no_grad():
        classifier.head.classifier.bias -= classifier.eval()(batch).mean(dim=0)
    return load_bundle(
        save_bundle(
            tmp_path / "model",
            classifier,
            SingleLabel(("no", "yes")),
            load_tokenizer(tiny_encoder),
            max_length=64,
        )
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text"), *((f"{i:03}", text) for i, text in enumerate(TEXTS))])
    return path


def expected(bundle) -> tuple[list[str], list[float]]:
    """One text at a time through transformers' tokenizer and the classifier."""
    labels, probabilities = [], []
    for text in TEXTS:
        ids = np.array(bundle.tokenizer(text, truncation=True, max_length=64)["input_ids"])
        with torch.no_grad():
            values = bundle.classifier(pack([ids], [0])).softmax(dim=-1)[0]
        labels.append(bundle.labels[int(values.argmax())])
        probabilities.append(values.max().item())
    return labels, probabilities


def read(path) -> list[dict]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_keep_their_order_and_get_their_labels(bundle, source, tmp_path, suffix):
    target = tmp_path / f"out{suffix}"
    assert predict_file(bundle, source, target, text_column="text", batch_size=7, max_tokens=50) == len(TEXTS)
    rows = read(target)
    labels, probabilities = expected(bundle)
    assert set(labels) == {"no", "yes"}
    assert [row["text"] for row in rows] == TEXTS
    assert [row["id"] for row in rows] == [f"{i:03}" for i in range(len(TEXTS))]
    assert [row["prediction"] for row in rows] == labels
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "model", target.name]


ODD = {
    "text": ["a\rb", "c\r\nd", 'e"f', "g"],
    "small": [1e-12, 0.1234567890123456, -0.0, 1e300],
    "at": [datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)] * 4,
    "many": [[0.1] * 1500, [], [1.5], [2.0]],
    "count": [1, None, 2**53 + 1, 0],
    "flag": [True, False, None, True],
}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_other_columns_are_handed_on_as_they_are(bundle, tmp_path, suffix):
    source, target = tmp_path / "in.parquet", tmp_path / f"out{suffix}"
    parquet.write_table(pyarrow.table(ODD), source)
    predict_file(bundle, source, target, text_column="text")
    rows = read(target)
    assert [row["text"] for row in rows] == ODD["text"]
    for name in ("small", "many", "count", "flag", "at"):
        found = [row[name] for row in rows]
        if suffix in (".csv", ".tsv"):
            empty = ["" if value is None else value for value in ODD[name]]
            expected = [json.dumps(value) if isinstance(value, list) else str(value) for value in empty]
        elif suffix == ".jsonl":
            expected = [str(value) if name == "at" else value for value in ODD[name]]
        else:
            expected = ODD[name]
        assert found == expected, name
    assert read_rows(target, "text", None, tmp_path / "cache")["text"] == ODD["text"]


def test_a_pair_with_one_empty_text_is_labelled(bundle, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "a b", "other": ""}\n{"text": "c", "other": "d"}\n')
    assert predict_file(bundle, source, target, text_column="text", text_pair_column="other") == 2


def test_the_home_folder(bundle, source, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match="is the input itself"):
        predict_file(bundle, "~/in.csv", source, text_column="text")
    assert predict_file(bundle, "~/in.csv", "~/out.csv", text_column="text") == len(TEXTS)
    assert (tmp_path / "out.csv").exists()


def test_the_batch_size_does_not_matter(bundle, source, tmp_path):
    for name, sizes in {"a": (1, 10), "b": (64, 4096)}.items():
        target = tmp_path / f"{name}.csv"
        predict_file(bundle, source, target, text_column="text", batch_size=sizes[0], max_tokens=sizes[1])
    a, b = (read(tmp_path / f"{name}.csv") for name in "ab")
    assert [row["prediction"] for row in a] == [row["prediction"] for row in b]
    probabilities = [[float(row["probability"]) for row in rows] for rows in (a, b)]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-6)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("in.csv", "is the input itself"),
        ("out.txt", "unknown kind of file '.txt'; choose one of .csv, .tsv, .jsonl, .parquet"),
        ("nowhere/out.csv", "there is no folder"),
    ],
)
def test_a_target_that_cannot_be_written(bundle, source, tmp_path, target, message):
    before = source.read_bytes()
    with pytest.raises(DataError, match=message):
        predict_file(bundle, source, tmp_path / target, text_column="text")
    assert source.read_bytes() == before


def test_a_missing_column_names_those_that_exist(bundle, source, tmp_path):
    with pytest.raises(DataError, match=r"in\.csv.*review.*'id', 'text'"):
        predict_file(bundle, source, tmp_path / "out.csv", text_column="review")
    assert not (tmp_path / "out.csv").exists()


def test_a_column_that_would_be_added_twice(bundle, tmp_path):
    path = tmp_path / "again.csv"
    path.write_text("text,prediction\nhello,no\n")
    with pytest.raises(DataError, match="has a column 'prediction' already"):
        predict_file(bundle, path, tmp_path / "out.csv", text_column="text")


def test_a_failed_write_leaves_the_old_file(bundle, source, tmp_path, monkeypatch):
    target = tmp_path / "out.csv"
    target.write_text("old")

    def fail(rows, path):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setitem(predict_file.__globals__["WRITERS"], ".csv", fail)
    with pytest.raises(OSError, match="disk full"):
        predict_file(bundle, source, target, text_column="text")
    assert target.read_text() == "old"
    assert not list(tmp_path.glob(".out*"))


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="accelerator=cuda"):
        choose_device("cuda")
