"""A labeled file in, its scores out: labels by name, rows that can't be scored, subgroups, and a second model."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from bert_ft.errors import ConfigError, DataError
from bert_ft.inference.evaluate_file import evaluate_file
from bert_ft.inference.files import predict_file
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import build_linear
from bert_ft.models.encoder import EncoderSpec
from bert_ft.reporting.evaluation_page import write_evaluation
from bert_ft.reporting.evaluation_tables import metrics_table, sentences
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.single_label import SingleLabel
from tests import commands
from tests.conftest import BAD, GOOD, NEUTRAL

from .saved import make_bundle

THREE = ("billing", "login", "refund")


@pytest.fixture(scope="module")
def bundle(tiny_encoder, tmp_path_factory):
    return make_bundle(tiny_encoder, tmp_path_factory.mktemp("three") / "model", THREE)


def write(path, rows, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice([*GOOD, *BAD, *NEUTRAL], size=6)) for _ in range(count)]


def file_of(tmp_path, labels, *more, header=("text", "label")):
    columns = [texts(len(labels)), labels, *more]
    return write(tmp_path / "new.csv", zip(*columns, strict=True), header)


def predicted(bundle, path):
    target = path.with_name("predicted.csv")
    predict_file(bundle, path, target, text_column="text", overwrite=True)
    with target.open(newline="") as file:
        return [row["prediction"] for row in csv.DictReader(file)]


def test_a_class_without_rows(bundle, tmp_path):
    labels = [THREE[i % 2 + 1] for i in range(20)]
    path = file_of(tmp_path, labels)
    found, rows = evaluate_file(bundle, path)
    ours = predicted(bundle, path)
    assert found.metrics["accuracy"].value == pytest.approx(accuracy_score(labels, ours))
    assert found.metrics["f1_macro"].value == pytest.approx(f1_score(labels, ours, average="macro"))
    billing = found.classes[0]
    assert (billing.name, billing.rows, billing.recall.reason) == ("billing", 0, "no row")
    assert "no row of billing" in sentences(found, rows)


def test_labels_that_the_model_does_not_know_are_counted(bundle, tmp_path):
    labels = [THREE[i % 3] for i in range(20)]
    labels[12] = "Refunds"
    found, rows = evaluate_file(bundle, file_of(tmp_path, labels))
    assert len(found.scored) == 19
    assert rows.unknown == {13: "Refunds"}
    assert "labels that the model doesn't know: 'Refunds' (1 row, first row 13)" in rows.sentences()
    assert "1 row of 20 can't be scored (unknown label: 1)" in rows.sentences()


def test_rows_without_a_label_or_a_text(bundle, tmp_path):
    labels = ["" if i % 4 == 0 else THREE[i % 3] for i in range(20)]
    path = file_of(tmp_path, labels)
    path.write_text(path.read_text() + ",login\n")
    found, rows = evaluate_file(bundle, path)
    assert rows.left_out == {"no label": 5, "empty": 1}
    assert (len(found.scored), rows.rows.tolist()[:3]) == (15, [2, 3, 4])


def test_subgroups_and_groups_of_rows(bundle, tmp_path):
    labels = [THREE[i % 3] for i in range(20)]
    source = ["mail"] * 12 + ["phone"] * 6 + ["fax", ""]
    thread = ["", "", *(f"t{i // 6}" for i in range(18))]
    path = file_of(tmp_path, labels, source, thread, header=("text", "label", "source", "thread"))
    found, rows = evaluate_file(bundle, path, group_by="source", cluster_by="thread")
    assert {name: group.rows for name, group in found.groups.items()} == {
        "mail": 12, "phone": 6, "fax": 1, "(none)": 1,
    }  # fmt: skip
    assert found.num_clusters == 5
    assert "2 rows have no 'thread' (cluster_by); each of them stands alone" in rows.notes
    assert found.metrics["accuracy"].caution == "5 groups are few: the interval is too narrow"
    both, _ = evaluate_file(bundle, path, group_by="source", cluster_by="source")
    assert {name: group.rows for name, group in both.groups.items()} == {
        "mail": 12, "phone": 6, "fax": 1, "(none)": 1,
    }  # fmt: skip
    alone, _ = evaluate_file(bundle, path, group_by="source")
    accuracy = alone.groups["fax"].metrics["accuracy"]
    assert accuracy.high - accuracy.low == pytest.approx(0.975)


def test_a_folder_without_training_labels_says_so(bundle, tmp_path):
    path = file_of(tmp_path, ["ham"] * 8 + ["spam"] * 12)
    spam = make_bundle_of(bundle, tmp_path, ("ham", "spam"), {"rows": 60, "counts": [54, 6]})
    found, _ = evaluate_file(spam, path)
    assert found.baseline.guess == "always ham"
    assert found.baseline.values == pytest.approx({"accuracy": 0.4, "f1_macro": 0.2857}, abs=1e-4)
    found, _ = evaluate_file(bundle, file_of(tmp_path, list(THREE)))
    assert found.baseline is None
    assert "Guessing: not known" in metrics_table(found).reading


def make_bundle_of(bundle, tmp_path, names, labels=None):
    """The same model, for classes of other names."""
    task = SingleLabel(names)
    bundle.classifier.encoder.save_pretrained(tmp_path / "encoder")
    bundle.tokenizer.save_pretrained(tmp_path / "encoder")
    classifier = build_linear(EncoderSpec(str(tmp_path / "encoder")), task.config_entries(), dropout=None)
    record = {} if labels is None else {"labels": labels}
    folder = save_bundle(
        tmp_path / "other", classifier, task, bundle.tokenizer, max_length=64, training=record
    )
    return replace(load_bundle(folder), training=record)


def test_other_labels_or_another_task_are_not_compared(bundle, tmp_path):
    path = file_of(tmp_path, list(THREE))
    other = make_bundle_of(bundle, tmp_path, ("billing", "login"))
    with pytest.raises(
        ConfigError, match=r"^against: has the labels 'billing', 'login', not 'billing', .*refund"
    ):
        evaluate_file(bundle, path, against=other)
    with pytest.raises(ConfigError, match=r"^against: is a model of task=ordinal, not of task=single_label$"):
        evaluate_file(bundle, path, against=replace(bundle, task=Ordinal(("above 1",), order=("1", "2"))))
    with pytest.raises(ConfigError, match="one of the models reads single texts, the other one pairs"):
        evaluate_file(bundle, path, against=replace(bundle, text_pair_column="question"))


ODD = ["<script>alert('x')</script>", "a < b && c > d", "<!-- gone -->", '"><img src=x onerror=alert(1)>']
ODD += ["</td></table>", "&lt;b&gt; stays"]


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.opened, self.closed, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.opened.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.closed.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
def test_texts_and_labels_are_no_markup(bundle, tmp_path):
    """Shown as they stand; and the page needs no other file."""
    names = ("<b>good</b>", "R&D")
    other = make_bundle_of(bundle, tmp_path, names)
    rows = [(f"{ODD[i % 6]} {text}", names[i % 2]) for i, text in enumerate(texts(60))]
    path = write(
        tmp_path / "markup.csv", [(*row, ODD[i % 6]) for i, row in enumerate(rows)], ("text", "label", "g")
    )
    found, file = evaluate_file(other, path, group_by="g", against=other, against_name=ODD[0])
    page = write_evaluation(found, file, tmp_path / "out", settings={"input": ODD[0]})
    shown = Tags(page.read_text(encoding="utf-8"))
    tags = [tag for tag, _ in shown.opened]
    assert not {"script", "b", "link", "iframe"} & set(tags)
    assert tags.count("table") == shown.closed.count("table") > 4
    images = [attributes["src"] for tag, attributes in shown.opened if tag == "img"]
    assert images
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert all(f"{odd} " in shown.text or odd in shown.text for odd in [*ODD, *names])


@pytest.mark.slow
def test_what_is_written(bundle, tmp_path):
    labels = [THREE[i % 3] for i in range(30)]
    labels[4] = "other"
    path = file_of(tmp_path, labels, ["x", "y"] * 15, header=("text", "label", "source"))
    found, rows = evaluate_file(bundle, path, name="m", group_by="source", against=bundle, against_name="n")
    folder = tmp_path / "out"
    write_evaluation(found, rows, folder, settings={"bundle": "m"})
    written = json.loads((folder / "evaluation.json").read_text())
    ours = predicted(bundle, path)
    known = [row for row in range(30) if row != 4]
    assert written["metrics"]["accuracy"]["value"] == pytest.approx(
        accuracy_score([labels[row] for row in known], [ours[row] for row in known])
    )
    assert written["rows"] == {"scored": 29, "all": 30, "left_out": {"unknown label": 1}}
    assert written["unknown_labels"] == {"other": 1}
    assert written["against"]["accuracy"]["sentence"].startswith("m and n can't be told apart on 29 rows")
    assert sum(map(sum, written["confusion"])) == 29
    tables = {}
    for name in ("scores", "classes", "groups", "rows"):
        with (folder / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert [row["prediction"] for row in tables["rows"] if row["row"] != "5"] == [ours[row] for row in known]
    assert (tables["rows"][4]["reason"], tables["rows"][4]["label"]) == ("unknown label", "other")
    assert {row["source"]: row["rows"] for row in tables["groups"]} == {"x": "14", "y": "15"}
    assert [row["label"] for row in tables["classes"]] == list(THREE)
    assert {row["metric"] for row in tables["scores"]} == {"accuracy", "f1_macro", "loss"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["input=none.csv"], r"input=none\.csv: no such file"),
        (
            ["input=unlabeled.csv"],
            r"unlabeled\.csv: no column 'label' \(label_column\); the columns are 'text'; set",
        ),
        (
            ["input=ids.csv"],
            r"ids\.csv: no row has a label that the model knows: the file has 'id-0', .*task=single_label",
        ),
        (["input=empty_labels.csv"], r"empty_labels\.csv: no row has a label$"),
        (["input=header.csv"], "header.csv: there are no rows"),
        (
            ["input=good.csv", "group_by=sauce"],
            r"no column 'sauce' \(group_by\); the columns are 'text', 'label'",
        ),
        (["input=good.csv", "cluster_by=doc"], r"no column 'doc' \(cluster_by\)"),
        (["input=good.csv", "against=nothing"], "against=nothing: no such folder"),
        (["input=good.csv", "output=good.csv"], r"output=good\.csv: is a file; give a folder"),
        (["input=good.csv", "bundle=nothing"], "bundle=nothing: no such folder"),
    ],
)
def test_bad_input_is_one_line(bundle, tiny_encoder, tmp_path, words, message):
    make_bundle(tiny_encoder, tmp_path / "model", THREE)
    write(tmp_path / "good.csv", zip(texts(3), THREE, strict=True))
    write(tmp_path / "unlabeled.csv", [[text] for text in texts(3)], ["text"])
    write(tmp_path / "ids.csv", [(text, f"id-{i}") for i, text in enumerate(texts(3))])
    write(tmp_path / "empty_labels.csv", [(text, "") for text in texts(3)])
    write(tmp_path / "header.csv", [])
    given = [] if any(word.startswith("bundle=") for word in words) else ["bundle=model"]
    done = commands.run("bert_ft.evaluate", *given, *words, "accelerator=cpu", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search(message, done.stderr.strip()), done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_the_command(bundle, tiny_encoder, tmp_path):
    make_bundle(tiny_encoder, tmp_path / "model", THREE)
    write(tmp_path / "good.csv", zip(texts(30), THREE * 10, strict=True))
    words = ["bundle=model", "input=good.csv", "against=model", "output=out", "accelerator=cpu"]
    done = commands.run("bert_ft.evaluate", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "model and model can't be told apart on 30 rows: accuracy" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if not line.startswith(("•", " " * 4)))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "evaluation.html",
        "evaluation.json",
        "scores.csv",
        "classes.csv",
        "rows.csv",
        "pictures",
    }
    again = commands.run("bert_ft.evaluate", *words, cwd=tmp_path)
    assert again.returncode == 2
    assert "has an evaluation already; give another folder, or overwrite=true" in again.stderr


def test_a_model_with_broken_weights(bundle, tmp_path):
    broken = load_bundle(
        save_bundle(tmp_path / "broken", bundle.classifier, bundle.task, bundle.tokenizer, max_length=64)
    )
    with torch.no_grad():
        broken.classifier.head.classifier.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="row 1: the model's outputs aren't finite; its weights are damaged"):
        evaluate_file(broken, file_of(tmp_path, list(THREE)))
