import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bert_ft.reporting.scalars import merged, read_scalars, smoothed
from tests.reporting.synthetic import write_scalars


def points(folder: Path, tag: str) -> dict[int, float]:
    series = read_scalars(folder)[tag]
    return dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def write_csv(folder: Path, version: int, rows: list[dict], columns: list[str]) -> Path:
    path = folder / f"csv/version_{version}/metrics.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_every_scalar_is_read(tmp_path):
    many = [("gradients/norm", step, step / 3) for step in range(1, 12_001)]
    write_scalars(tmp_path, many)
    series = read_scalars(tmp_path)["gradients/norm"]
    np.testing.assert_array_equal(series.steps, np.arange(1, 12_001))
    np.testing.assert_allclose(series.values, np.arange(1, 12_001) / 3, rtol=1e-6)


def test_all_steps_are_steps_done(tmp_path):
    """Lightning stamps with the steps before, monitors and validations with the steps done."""
    tags = ("train/loss", "val/loss", "lr-AdamW/head", "train/loss_smoothed", "gradients/norm", "test/loss")
    write_scalars(tmp_path, [(tag, 9, 1.0) for tag in tags])
    found = {tag: series.steps.tolist() for tag, series in read_scalars(tmp_path).items()}
    assert found == dict(zip(tags, [[10], [9], [10], [9], [9], [9]], strict=True))


def test_tags_keep_the_order_of_the_log(tmp_path):
    write_scalars(tmp_path, [("b", 1, 0.0), ("a", 1, 0.0), ("c", 1, 0.0)])
    write_scalars(tmp_path, [("d", 2, 0.0), ("a", 2, 0.0)])
    assert list(read_scalars(tmp_path)) == ["b", "a", "c", "d"]


def test_of_a_resumed_run_the_later_file_wins(tmp_path):
    """Broken off after step 6, resumed from the checkpoint of step 3: what came between is of no weights that are left."""
    first = [("train/loss", step, 1.0) for step in range(6)] + [("val/loss", 3, 1.0), ("val/loss", 6, 1.0)]
    first += [("gradients/norm", step, 1.0) for step in (3, 6)]
    write_scalars(tmp_path, first)
    write_scalars(
        tmp_path, [("train/loss", step, 2.0) for step in range(3, 5)] + [("gradients/norm", 5, 2.0)]
    )
    assert points(tmp_path, "train/loss") == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}
    assert points(tmp_path, "val/loss") == {3: 1}  # not that of step 6, though no later file has any
    assert points(tmp_path, "gradients/norm") == {3: 1, 5: 2}


def test_a_run_resumed_twice(tmp_path):
    for value, steps in ((1.0, range(10)), (2.0, range(6, 12)), (3.0, range(4, 8))):
        write_scalars(tmp_path, [("train/loss", step, value) for step in steps])
    assert points(tmp_path, "train/loss") == {1: 1, 2: 1, 3: 1, 4: 1, 5: 3, 6: 3, 7: 3, 8: 3}


def test_the_file_of_the_test_cuts_nothing_off(tmp_path):
    """Lightning opens another for it, with the last step."""
    write_scalars(tmp_path, [("train/loss", 9, 1.0), ("gradients/norm", 10, 1.0), ("epoch", 9, 0.0)])
    write_scalars(tmp_path, [("test/loss", 10, 1.0), ("epoch", 10, 1.0)])
    assert points(tmp_path, "gradients/norm") == {10: 1}
    assert points(tmp_path, "train/loss") == {10: 1}
    assert points(tmp_path, "epoch") == {9: 0, 10: 1}


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_of_a_truncated_file_the_whole_records_are_read(tmp_path, cut):
    path = write_scalars(tmp_path, [("train/loss", step, float(step)) for step in range(20)])
    path.write_bytes(path.read_bytes()[:-cut])
    assert points(tmp_path, "train/loss") == {step + 1: step for step in range(19)}


def test_an_empty_file_is_skipped(tmp_path):
    assert read_scalars(tmp_path) == {}
    write_scalars(tmp_path, [("train/loss", 0, 1.0)])
    (tmp_path / "tensorboard/events.out.tfevents.9999999999.host.1.0").touch()
    assert points(tmp_path, "train/loss") == {1: 1}


def test_csv_is_read_where_there_are_no_event_files(tmp_path):
    rows = [
        {"step": 0, "train/loss": 1.5, "epoch": 0},
        {"step": 1, "train/loss": "nan", "val/loss": "", "epoch": 0},
        {"step": 2, "val/loss": 0.5, "epoch": 0},
    ]
    write_csv(tmp_path, 0, rows, ["epoch", "step", "train/loss", "val/loss"])
    found = points(tmp_path, "train/loss")
    assert found[1] == 1.5
    assert np.isnan(found[2])
    assert points(tmp_path, "val/loss") == {2: 0.5}
    write_scalars(tmp_path, [("train/loss", 0, 7.0)])
    assert points(tmp_path, "train/loss") == {1: 7}


def test_csv_of_a_resumed_run_in_the_order_of_its_starts(tmp_path):
    for version, value in ((2, 2.0), (10, 10.0), (9, 9.0)):
        write_csv(tmp_path, version, [{"step": 4, "train/loss": value}], ["step", "train/loss"])
    write_csv(tmp_path, 11, [], ["step", "train/loss"])  # a start that logged nothing
    assert points(tmp_path, "train/loss") == {5: 10}


def test_a_csv_that_breaks_off_in_a_line(tmp_path):
    path = write_csv(tmp_path, 0, [{"a": 1.25, "step": 1}, {"a": 1.25, "step": 2}], ["a", "step"])
    path.write_text(path.read_text(encoding="utf-8").rstrip() + "\n1.2", encoding="utf-8")
    assert points(tmp_path, "a") == {1: 1.25, 2: 1.25}


def test_merged_without_training_in_the_later_file():
    earlier, later = {"a": {1: 1.0, 2: 1.0}}, {"a": {2: 2.0}, "b": {1: 2.0}}
    assert merged(earlier, later) == {"a": {1: 1.0, 2: 2.0}, "b": {1: 2.0}}


@pytest.mark.parametrize(
    ("num_values", "span", "expected"), [(200, 40.5, 40.5), (10, None, 5), (1000, None, 20)]
)
def test_smoothed_is_the_exponential_mean_of_pandas(num_values, span, expected):
    values = np.random.default_rng(0).normal(size=num_values)
    values[[0, 4]] = np.nan, np.inf
    gaps = pd.Series(np.where(np.isfinite(values), values, np.nan))
    np.testing.assert_allclose(smoothed(values, span), gaps.ewm(span=expected, adjust=True).mean())


def test_no_values_are_smoothed_to_none():
    assert smoothed(np.array([])).tolist() == []
