"""A file in, the same file with labels out."""

import csv
import datetime
import json

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from bert_ft.data.dialect import DialectSettings
from bert_ft.data.sources import read_rows
from bert_ft.errors import ConfigError, DataError
from bert_ft.inference.device import choose_device
from bert_ft.inference.files import predict_file

from .saved import TEXTS, make_bundle, probabilities_of


@pytest.fixture
def bundle(tiny_encoder, tmp_path):
    return make_bundle(tiny_encoder, tmp_path / "model")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text"), *((f"{i:03}", text) for i, text in enumerate(TEXTS))])
    return path


def expected(bundle) -> tuple[list[str], list[float]]:
    values = probabilities_of(bundle, TEXTS)
    return [bundle.labels[index] for index in values.argmax(axis=1)], values.max(axis=1).tolist()


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
    labeled = predict_file(bundle, source, target, text_column="text", batch_size=7, max_tokens=50)
    assert (labeled.num_rows, labeled.reasons, labeled.scores) == (len(TEXTS), {}, None)
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
    assert predict_file(bundle, source, target, text_column="text", text_pair_column="other").num_rows == 2
    assert [row["reason"] for row in read(target)] == [None, None]


def test_the_home_folder(bundle, source, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match="is the input itself"):
        predict_file(bundle, "~/in.csv", source, text_column="text")
    assert predict_file(bundle, "~/in.csv", "~/out.csv", text_column="text").num_rows == len(TEXTS)
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
        ("out.txt", "unknown suffix '.txt'; choose one of .csv, .tsv, .jsonl, .json, .parquet"),
        ("out.parquet.gz", "unknown suffix '.gz'"),
        ("model", "unknown suffix ''"),
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


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_of_earlier_predictions_stay(bundle, source, tmp_path, suffix):
    first, second, third = (tmp_path / f"{name}{suffix}" for name in ("first", "second", "third"))
    predict_file(bundle, source, first, text_column="text")
    labeled = predict_file(bundle, first, second, text_column="text")
    assert labeled.notes[-1:] == [
        f"{first}: has a column 'prediction' already; the new columns are prediction_2, probability_2, reason_2"
    ]
    predict_file(bundle, second, third, text_column="text")
    rows = read(third)
    names = ["prediction", "probability", "reason"]
    assert list(rows[0]) == ["id", "text", *names, *(f"{name}_{n}" for n in (2, 3) for name in names)]
    assert [row["prediction"] for row in rows] == [row["prediction_3"] for row in rows] == expected(bundle)[0]


def test_an_output_that_exists_is_kept(bundle, source, tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(DataError, match=r"out\.csv: exists already; .* overwrite=true"):
        predict_file(bundle, source, target, text_column="text")
    assert target.read_text() == "old"
    predict_file(bundle, source, target, text_column="text", overwrite=True)
    assert len(read(target)) == len(TEXTS)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_link_stays_and_what_it_leads_to_is_written(bundle, source, tmp_path, suffix):
    (tmp_path / "far").mkdir()
    file, link = tmp_path / "far" / "file", tmp_path / f"out{suffix}"
    file.write_text("old")
    link.symlink_to(file)
    predict_file(bundle, source, link, text_column="text", overwrite=True)
    assert link.is_symlink()
    assert file.read_text("latin-1") != "old"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_probabilities_of_all_labels_and_of_none(bundle, source, tmp_path):
    everything, nothing = tmp_path / "all.jsonl", tmp_path / "none.jsonl"
    predict_file(bundle, source, everything, text_column="text", probabilities="all")
    predict_file(bundle, source, nothing, text_column="text", probabilities="none")
    rows = read(everything)
    assert list(rows[0]) == [
        "id",
        "text",
        "prediction",
        "probability",
        "probability_no",
        "probability_yes",
        "reason",
    ]
    found = [[row["probability_no"], row["probability_yes"]] for row in rows]
    np.testing.assert_allclose(found, probabilities_of(bundle, TEXTS), atol=1e-6)
    assert list(read(nothing)[0]) == ["id", "text", "prediction", "reason"]
    assert [row["prediction"] for row in read(nothing)] == [row["prediction"] for row in rows]


def test_scores_of_a_file_with_labels(bundle, tmp_path):
    labels = ["no", "yes", "no", "yes", "maybe", "", "no"]
    source = tmp_path / "in.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        rows = zip([*TEXTS[:6], ""], labels, strict=True)
        csv.writer(file).writerows([("text", "answer"), *rows])
    labeled = predict_file(bundle, source, tmp_path / "out.csv", text_column="text", label_column="answer")
    predicted = expected(bundle)[0][:4]
    assert labeled.scores.values == {
        "accuracy": pytest.approx(accuracy_score(labels[:4], predicted)),
        "f1_macro": pytest.approx(f1_score(labels[:4], predicted, average="macro")),
    }
    assert str(labeled.scores).endswith(
        " on the 4 labeled rows; 1 have a label that the model doesn't know: 'maybe' (1); 1 have none"
    )
    assert [row["answer"] for row in read(tmp_path / "out.csv")] == labels


@pytest.mark.parametrize("labels", [["True", "False"], ["true", "false"]])
def test_scores_of_labels_that_are_booleans(tiny_encoder, tmp_path, labels):
    bundle = make_bundle(tiny_encoder, tmp_path / "model", ("false", "true"))
    (tmp_path / "in.csv").write_text(f"text,label\na film,{labels[0]}\ndull,{labels[1]}\n")
    labeled = predict_file(
        bundle, tmp_path / "in.csv", tmp_path / "out.csv", text_column="text", label_column="label"
    )
    assert (labeled.scores.num_rows, labeled.scores.unknown) == (2, {})


def test_a_label_that_is_not_in_the_encoding_of_the_input(tiny_encoder, tmp_path):
    bundle = make_bundle(tiny_encoder, tmp_path / "model", ("é", "ü"))
    (tmp_path / "in.csv").write_text("text\na film\n")
    with pytest.raises(DataError, match=r"can't be written in the input's encoding cp1251, "):
        predict_file(
            bundle,
            tmp_path / "in.csv",
            tmp_path / "out.csv",
            text_column="text",
            settings=DialectSettings(encoding="cp1251", prefix=""),
        )


def test_labels_that_are_all_unknown(bundle, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a film", "label": -1}\n{"text": "dull", "label": [1]}\n')
    labeled = predict_file(
        bundle, tmp_path / "in.jsonl", tmp_path / "out.jsonl", text_column="text", label_column="label"
    )
    assert str(labeled.scores).startswith(
        "no scores: no row has a label that the model knows; 2 have a label"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", "text,n\n", "there are no rows"),
        ("in.jsonl", "\n", "the file is empty"),
        (
            "in.csv",
            "review,n\na,1\n",
            r"no column 'text' \(text_column\); the columns are 'review', 'n'; set text_column",
        ),
        ("in.xls", "x", "unknown suffix"),
        ("in.csv", "", "the file is empty"),
    ],
)
def test_an_input_that_cannot_be_read(bundle, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        predict_file(bundle, tmp_path / name, tmp_path / "out.csv", text_column="text")
    assert "data." not in str(error.value)


def test_an_encoding_that_does_not_fit_names_the_key_of_this_command(bundle, tmp_path):
    (tmp_path / "in.csv").write_bytes(b"\xff\xfet")
    with pytest.raises(DataError, match="set encoding to") as error:
        predict_file(bundle, tmp_path / "in.csv", tmp_path / "out.csv", text_column="text")
    assert "data." not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"), [("none.csv", "no such file"), ("model", "is a folder; give a file")]
)
def test_an_input_that_is_no_file(bundle, tmp_path, name, message):
    with pytest.raises(DataError, match=rf"^input=.*{name}: {message}"):
        predict_file(bundle, tmp_path / name, tmp_path / "out.csv", text_column="text")


def test_values_that_another_format_has_no_name_or_value_for(bundle, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(
        b'{"text": "a", "x": NaN, "label": NaN}\n{"text": "b\xff", "k\xff": 1, "x": "y"}\n'
    )
    labeled = predict_file(
        bundle, tmp_path / "in.jsonl", tmp_path / "out.parquet", text_column="text", label_column="label"
    )
    first, second = read(tmp_path / "out.parquet")
    assert (first["x"], second["x"], second["k\ufffd"]) == (None, '"y"', 1)
    assert (labeled.scores.num_unlabeled, labeled.scores.unknown) == (1, {})
    assert any("set encoding" in line for line in labeled.lines("out.parquet"))


def test_a_list_in_json_lines_is_one_malformed_row_with_advice(bundle, tmp_path):
    (tmp_path / "in.jsonl").write_text('[{"text": "a"}]\n')
    labeled = predict_file(bundle, tmp_path / "in.jsonl", tmp_path / "out.jsonl", text_column="text")
    assert (labeled.reasons, "if the file is one array, name it .json" in labeled.notes[0]) == (
        {"malformed": 1},
        True,
    )


def test_a_failed_write_leaves_the_old_file(bundle, source, tmp_path, monkeypatch):
    target = tmp_path / "out.csv"
    target.write_text("old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("bert_ft.inference.output_file.field_of", fail)
    with pytest.raises(OSError, match="disk full"):
        predict_file(bundle, source, target, text_column="text", overwrite=True)
    assert target.read_text() == "old"
    assert not list(tmp_path.glob(".out*"))


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="accelerator=cuda"):
        choose_device("cuda")
