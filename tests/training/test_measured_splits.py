"""What a run records of how sure its scores are, and what the report finds of its test rows."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bert_ft.evaluation.intervals import proportion
from bert_ft.evaluation.scored import Scored
from bert_ft.evaluation.training_labels import training_labels
from bert_ft.reporting.monitor_files import read_arrays, read_top_losses
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.measured_splits import MeasuredSplits, save_judged_rows
from bert_ft.training.summary import print_result

TASK = SingleLabel(("ham", "spam"))


def scored(right=57, of=60):
    targets = np.arange(of) % 2
    predicted = np.where(np.arange(of) < right, targets, 1 - targets)
    return Scored(TASK, 3 * np.eye(2, dtype=np.float32)[predicted], targets)


def measured():
    found = MeasuredSplits(training_labels(TASK, np.array([0, 0, 1])))
    for split in ("val", "test"):
        found.guess_for(split, TASK, scored().targets)
        found.add(split, scored())
    return found.record()


def test_intervals_and_the_guess_of_the_training_rows():
    record = measured()
    exact = proportion(57, 60)
    assert record["intervals"]["test"]["accuracy"] == [exact.low, exact.high]
    assert record["intervals"]["val"].keys() == {"accuracy", "f1_macro", "loss"}
    assert (record["guess"], record["baseline"]["test"]["accuracy"]) == ("always ham", 0.5)


def test_outputs_that_are_not_finite_have_no_intervals():
    found = MeasuredSplits({})
    broken = scored()
    broken.logits[3, 0] = np.nan
    found.add("test", broken)
    assert found.record() == {}


def test_the_result_fits_into_a_terminal():
    values = {"loss": 0.1234, "accuracy": 0.95, "f1_macro": 0.95}
    record = {
        "val": values, "test": values, **measured(), "checkpoint": {"path": None, "epoch": 1, "step": 9},
        "weights": "raw", "objective": {"metric": "val/accuracy"}, "fit_seconds": 9, "stopped": "all steps done",
        "precision": {"effective": "32-true"},
    }  # fmt: skip
    out = io.StringIO()
    print_result(record, Path("run"), console=Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("0.9500 [0.861, 0.990] │ 0.9500 [0.861, 0.990] │   0.5000" in line for line in lines) == 1
    assert any(line.split() == ["guessing", "always", "ham"] for line in lines)


def test_the_report_finds_the_test_rows(tmp_path):
    for step in (10, 20):  # a run that was trained further
        save_judged_rows(
            tmp_path, step, scored(), np.arange(60),
            texts=lambda split, rows: [f"{split} text {row}" for row in rows],
            sources=lambda split, rows: [f"test.csv {row + 1}" for row in rows],
        )  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"test_20.npz", "test_losses_20.json"}
    rows = read_arrays(tmp_path, "test", 20).content
    assert np.trace(rows["confusion"]) == 57
    hardest = read_top_losses(tmp_path, 20, "test_losses").content
    assert [row["source"] for row in hardest[:3]] == ["test.csv 58", "test.csv 59", "test.csv 60"]
    assert hardest[0]["text"] == "test text 57"
    assert hardest[0]["loss"] == pytest.approx(np.log1p(np.exp(3)), rel=1e-6)
