import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from bert_ft.data.splits import split
from bert_ft.data.targets import cell_reader
from bert_ft.errors import ConfigError, DataError
from bert_ft.tasks.label_sets import LabelSets, find_delimiter, split_labels
from bert_ft.tasks.multi_label import MultiLabel

NAMES = ("a", "b", "c", "d")


def column(*cells):
    return pa.chunked_array([pa.array([LabelSets().read(cell, "x") for cell in cells])])


def flags(**columns):
    read = cell_reader(LabelSets(), list(columns)).read
    rows = [
        dict(zip(columns, cells, strict=True))
        for cells in zip(*([read(c, "x") for c in each] for each in columns.values()), strict=True)
    ]
    return pa.chunked_array([pa.array(rows, pa.struct([(name, pa.bool_()) for name in columns]))])


@pytest.mark.parametrize(
    "cells",
    [
        [["refund"], ["it's late", "billing"], []],
        ['["refund"]', '["it\'s late", "billing"]', "[]"],
        ["['refund']", "[\"it's late\", 'billing']", "[]"],
        ["refund", "it's late; billing;billing", ""],
    ],
)
def test_lists_are_read_in_every_spelling(cells):
    task = MultiLabel(delimiter=";").fitted(column(*cells))
    assert task.names == ("billing", "it's late", "refund")
    assert task.encode(column(*cells)).tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("cell", ["['a' 'b']", "[a, b]", "{'a', 'b'}", "['a']['b']"])
def test_what_only_looks_like_a_list_is_refused(cell):
    with pytest.raises(DataError, match=r"x\.csv, row 1, .* is no list of labels; write a JSON list"):
        LabelSets().read(cell, "x.csv, row 1, column 'tags'")


@pytest.mark.parametrize(
    ("cells", "delimiter"),
    [
        (["a;b", "a", "b;c"], ";"),
        (["Sales, EMEA;Support", "Sales, US", "Support"], ";"),
        (["a, b", "b, c", "c"], ","),
        (["Toys, games", "Home, garden", "Books"], None),
        (["a", "b"], None),
        (['["a;b", "c"]', '["c"]'], None),
    ],
)
def test_the_delimiter_is_found(cells, delimiter):
    assert find_delimiter(cells) == delimiter


def test_what_is_dropped_is_counted():
    found = split_labels("; a;b;a ", ";")
    assert (found.names, found.num_spaced, found.num_empty, found.repeated) == (("a", "b"), 2, 1, ("a",))


def test_columns_of_flags_are_labels():
    labels = flags(toxic=["1", "0"], threat=["0.0", 1.0], insult=["TRUE", False])
    task = MultiLabel().fitted(labels)
    assert task.names == ("toxic", "threat", "insult")
    assert task.encode(labels).tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("cell", ["", None, "2", "-1.0", "0.5", "maybe", float("nan")])
def test_a_cell_that_is_no_flag_is_refused(cell):
    with pytest.raises(DataError, match=r"row 3, column 'toxic': .*(empty|neither 1 nor 0)"):
        cell_reader(LabelSets(), ["toxic"]).read(cell, "x.csv, row 3, column 'toxic'")


def test_unknown_labels_and_no_labels_are_refused():
    task = MultiLabel().fitted(column("a;b", "a"))
    with pytest.raises(
        DataError, match=r"v\.csv, row 9: label 'c' doesn't occur in the training rows; known are a, b"
    ):
        task.encode(column("a", "b;c"), origin="v.csv", rows=np.array([4, 9]))
    with pytest.raises(DataError, match="no row has a label"):
        MultiLabel().fitted(column("", "[]"))


def test_notes_and_counts():
    labels = column("a;a", "b ", "; a;b", "")
    task = MultiLabel().fitted(labels)
    notes = list(task.notes(labels, "t.csv"))
    assert "t.csv: labels are split at ';' (task.delimiter)" in notes
    assert "t.csv: empty pieces were dropped in 1 rows" in notes
    assert any(
        "1 rows have a label twice, which counts once (the first is row 1: 'a')" in note for note in notes
    )
    targets = task.encode(labels)
    summary = task.summary(targets)
    assert summary == {"a": 2, "b": 2, "a + b": 1, "(rows without a label)": 1, "(labels per row)": 1.0}
    assert task.describe(targets[2]) == "a, b"
    one_each = flags(a=[1, 0], b=[0, 1])
    assert any("task=single_label" in note for note in MultiLabel().fitted(one_each).notes(one_each, ""))


def test_labels_of_all_rows_or_none_are_weighted_by_1():
    labels = flags(always=[1] * 4, half=[1, 0] * 2, tenth=[1, 0, 0, 0], never=[0] * 4)
    task = MultiLabel().fitted(labels)
    targets = task.encode(labels)
    assert task.class_weights("balanced", targets) == [1, 1, 3, 1]
    said = " ".join(task.report_warnings({"train": task.summary(targets)}, ()))
    assert "no training row has never" in said
    assert "all training rows have always" in said
    with pytest.raises(ConfigError, match="2 weights for the 4 labels"):
        task.class_weights([1, 2], targets)


@pytest.mark.parametrize("seed", range(5))
def test_each_split_has_a_row_of_each_label(seed):
    targets = np.zeros((60, 3), dtype=bool)
    targets[:45, 0] = targets[48:57, 1] = targets[:3, 1] = targets[[4, 20, 41], 2] = True
    strata = MultiLabel(NAMES[:3]).strata(targets)
    parts = split(strata, np.arange(60), validation_ratio=0.2, test_ratio=0.2, seed=seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(60))
    for name, expected in {"train": 27, "validation": 9, "test": 9}.items():
        assert targets[parts[name]].any(axis=0).all()
        assert (~targets[parts[name]].any(axis=1)).any()
        assert abs(targets[parts[name], 0].sum() - expected) <= 2


TRUE = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]  # fmt: skip


@pytest.mark.parametrize("batch_size", [3, 8])
def test_metrics_are_those_of_scikit_learn(batch_size):
    """Also with logits between 0 and 1, which torchmetrics takes for probabilities; label d has no row."""
    task, rng = MultiLabel(NAMES), np.random.default_rng(1)
    targets = np.array(TRUE, dtype=bool)
    logits = rng.uniform(0.02, 0.98, targets.shape) * np.where(rng.random(targets.shape) < 0.3, -1, 1)
    logits[:3] = np.abs(logits[:3])
    metrics = task.metrics()
    for start in range(0, 8, batch_size):
        rows = slice(start, start + batch_size)
        inputs = task.metric_inputs(torch.from_numpy(logits[rows]), torch.from_numpy(targets[rows]))
        for metric in metrics.values():
            metric.update(*inputs)
    predicted = logits >= 0
    expected = {
        f"f1_{kind}": f1_score(targets, predicted, average=kind, zero_division=0)
        for kind in ("macro", "micro", "samples")
    }
    expected |= {
        "subset_accuracy": accuracy_score(targets, predicted),
        "average_precision": average_precision_score(targets[:, :3], logits[:, :3]),
    }
    assert {name: float(metric.compute()) for name, metric in metrics.items()} == pytest.approx(expected)
    assert {*metrics, "loss"} == set(task.objectives)


def test_predictions_and_terms():
    task = MultiLabel(("a", "b"))
    columns = task.decode(task.outputs(torch.tensor([[1.0, 0.0], [-1.0, -2.0]])).numpy())
    assert columns["prediction"].to_pylist() == [["a", "b"], []]
    overlap = task.same_label(torch.tensor([[1, 1], [0, 0]]), torch.tensor([[1, 0], [1, 1], [0, 0]]))
    assert overlap.tolist() == [[0.5, 1, 0], [0, 0, 0]]
    assert json.loads(json.dumps(task.settings())) == {"delimiter": None, "thresholds": None, "cut_offs": []}
