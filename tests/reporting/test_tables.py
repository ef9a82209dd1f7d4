from dataclasses import replace

import numpy as np
import pytest

from bert_ft.reporting import run_tables, validation_tables
from bert_ft.reporting.monitor_files import Snapshot
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.run_log import RunLog, read_run
from bert_ft.reporting.scalars import Series
from bert_ft.reporting.table import LONG, Cell, Table, number, share
from bert_ft.reporting.validation_tables import mistakes
from tests.reporting.synthetic import Size, whole_split, write_run

pytestmark = pytest.mark.slow

SIZE = Size(num_rows=20, num_steps=8)
EMPTY = RunLog(folder=None)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> RunLog:
    return read_run(write_run(tmp_path_factory.mktemp("run"), SIZE))


def rows(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.1235"),
        (0.0, "0.0000"),
        (1e-6, "1e-06"),
        (123456.0, "1.23e+05"),
        (12345, "12,345"),
        (None, "-"),
        (float("nan"), "nan"),
    ],
)
def test_number(value, text):
    assert number(value) == Cell(text, is_number=True)
    assert number(1234.56, digits=1).text == "1234.6"
    assert share(0.25) == Cell("0.250", share=0.25, is_number=True)


def test_a_long_table_is_folded_up():
    short = Table("", "", ["a"], [[Cell("")]] * LONG)
    assert not short.is_long
    assert replace(short, rows=[*short.rows, [Cell("")]]).is_long


def test_facts_of_a_finished_run(log):
    found = run_tables.facts(log)
    assert found["objective"] == f"val/accuracy {log.metrics['objective']['value']:.4f}"
    assert found["weights"] == "checkpoints/best.ckpt, by val/accuracy, after 2 epochs, step 6"
    assert found["training"] == "131 s in bf16-mixed"
    assert found["ended"] == "all steps done"
    averaged = {"weights": "ema", "checkpoint": {"path": None, "epoch": 1.5, "step": 1200}}
    diverged = {"objective": {"metric": "val/accuracy", "value": None}}
    found = run_tables.facts(replace(log, metrics=log.metrics | averaged | diverged))
    assert found["weights"] == "the last weights (ema), after 1.5 epochs, step 1,200"
    assert found["objective"] == "val/accuracy not a number"


def test_facts_of_a_run_that_was_broken_off(log):
    found = run_tables.facts(replace(log, metrics=None))
    assert found["state"] == "not finished: there is no metrics.json; logged up to step 8"
    best = log.scalars["val/accuracy"]
    assert found["best so far"] == f"val/accuracy {best.values.max():.4f} at step 8"
    assert "best so far" not in run_tables.facts(EMPTY)


def test_results(log):
    table = run_tables.results(log)
    assert table.columns == ["split", "loss", "accuracy", "f1_macro"]
    assert rows(table)[1] == ["test", "0.3300", "0.9125", "0.9100"]
    without = replace(log, metrics=log.metrics | {"test": None})
    assert [row[0] for row in rows(run_tables.results(without))] == ["validation"]


def test_phases_are_summed_up_and_sorted():
    log = RunLog(
        folder=None,
        scalars={
            "seconds/forward": Series(np.array([1, 2]), np.array([1.0, 2.0])),
            "seconds/backward": Series(np.array([1, 2]), np.array([4.0, np.nan])),
            "train/loss": Series(np.array([1]), np.array([9.0])),
        },
    )
    assert rows(run_tables.phases(log)) == [["backward", "4.0", "0.571"], ["forward", "3.0", "0.429"]]
    assert run_tables.phases(log).reading == "Up to the last reading."


def test_phases_of_a_finished_run_are_all_of_its_time():
    log = RunLog(
        folder=None,
        metrics={"fit_seconds": 10.0},
        scalars={
            "seconds/forward": Series(np.array([1, 2]), np.array([1.0, 2.0])),
            "seconds_after/forward": Series(np.array([2]), np.array([1.0])),
            "seconds_after/validation": Series(np.array([2]), np.array([4.0])),
        },
    )
    assert rows(run_tables.phases(log)) == [
        ["forward", "4.0", "0.400"],
        ["validation", "4.0", "0.400"],
        ["start and end", "2.0", "0.200"],
    ]
    assert not run_tables.phases(log).reading


def test_every_tag_is_listed(log):
    table = run_tables.all_scalars(log)
    assert [row[0] for row in rows(table)] == sorted(log.scalars)
    one = RunLog(folder=None, scalars={"a": Series(np.arange(4), np.array([3.0, np.nan, 1.0, 2.0]))})
    assert rows(run_tables.all_scalars(one)) == [["a", "4", "3.0000", "2.0000", "1.0000", "3.0000"]]


def test_environment(log):
    assert rows(run_tables.environment(log)) == [
        ["system", "Linux"],
        ["processor", "a <b>fast</b> one"],
        ["cores", "2"],
        ["seed", "3"],
        ["python", "3.11.7"],
        ["torch", "2.13.0"],
        ["lightning", "2.6.6"],
        ["precision", "bf16-mixed (requested: 16)"],
    ]


def validation_log(logits: list[list[float]], labels: list[int]) -> RunLog:
    arrays = {
        "logits": np.array(logits, dtype=np.float32),
        "labels": np.array(labels),
        "rows": np.arange(len(labels)),
        "names": np.array(["bad", "good"]),
    }
    return RunLog(folder=None, validation=Snapshot(1, True, whole_split(arrays)))


def test_scores_by_class():
    log = validation_log([[1, 0], [0, 1], [0, 1], [0, 1], [np.nan, 0]], [0, 0, 1, 1, 1])
    table = validation_tables.scores_by_class(log)
    assert rows(table) == [
        ["bad", "2", "1", "1.000 [0.025, 1.000]", "0.500 [0.013, 0.987]", "0.667 [0.025, 0.994]"],
        ["good", "2", "3", "0.667 [0.094, 0.992]", "1.000 [0.158, 1.000]", "0.800 [0.172, 0.996]"],
    ]
    assert [cell.share for cell in table.rows[0]] == [None, None, None, 1, 0.5, pytest.approx(2 / 3)]
    undefined = validation_tables.scores_by_class(validation_log([[1, 0], [1, 0]], [0, 0]))
    assert rows(undefined)[1] == ["good", "0", "0", "-", "-", "-"]
    with pytest.raises(NotLogged, match="no row has finite logits"):
        validation_tables.scores_by_class(validation_log([[np.inf, 0]], [0]))


def test_all_rows_count_and_not_only_those_that_were_saved():
    log = validation_log([[1, 0], [0, 1], [0, 1]], [0, 0, 1])
    saved = {
        name: values[:1]
        for name, values in log.validation.content.items()
        if name in ("logits", "labels", "rows")
    }
    log = replace(log, validation=Snapshot(1, True, log.validation.content | saved))
    assert [row[1] for row in rows(validation_tables.scores_by_class(log))] == ["2", "1"]
    assert rows(validation_tables.frequent_mistakes(log)) == [["bad", "good", "1"]]


def test_frequent_mistakes():
    log = validation_log([[0, 1], [0, 1], [1, 0], [0, 1]], [0, 0, 1, 1])
    assert rows(validation_tables.frequent_mistakes(log)) == [["bad", "good", "2"], ["good", "bad", "1"]]
    with pytest.raises(NotLogged, match="every row is right"):
        validation_tables.frequent_mistakes(validation_log([[0, 1]], [1]))


def test_top_losses():
    content = [{"row": 7, "text": None, "label": "a", "prediction": "b", "probability": 0.01, "loss": 4.605}]
    log = RunLog(folder=None, top_losses=Snapshot(1, True, content))
    assert rows(validation_tables.top_losses(log)) == [["7", "(not kept)", "a", "b", "0.0100", "4.61"]]
    content[0] |= {"source": "reviews.csv 34", "text": "x" * 400}
    ((source, text, *_),) = validation_tables.top_losses(log).rows
    assert source.text == "reviews.csv 34"
    assert (text.beginning, text.rest) == ("x" * 300, "x" * 100)
    assert source.beginning is None


def test_data(log):
    table = run_tables.splits(log)
    assert table.columns[:3] == ["split", "rows", "tokens: mean"]
    assert rows(table)[0] == [
        "train",
        "640",
        "10.5",
        "11",
        "15",
        "16",
        "2.5%",
        "1.0%",
        "-",
        "-",
        "4",
        "1",
        "2",
    ]
    assert rows(run_tables.label_counts(log))[0] == ["class 0", "213", "6", "26"]


def test_mistakes_by_frequency_and_then_in_the_order_of_the_labels():
    counts = np.array([[9, 2, 0], [5, 9, 2], [0, 0, 9]])
    assert mistakes(counts, most=10) == [(1, 0, 5), (0, 1, 2), (1, 2, 2)]
    assert mistakes(counts, most=2) == [(1, 0, 5), (0, 1, 2)]
    assert mistakes(np.eye(3, dtype=int), most=10) == []
