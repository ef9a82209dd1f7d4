"""Folders that old versions saved load and predict as they did then (``make_folders.py`` says which versions)."""

import csv

import pytest

from bert_ft.predict import main as predict
from tests.golden.make_folders import FOLDERS
from tests.training.running import compose_run

NAMES = sorted(path.name for path in FOLDERS.iterdir())
TOLERANCE = 1e-6  # of probabilities, in float32


def rows(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("name", NAMES)
def test_old_folder_predicts_as_recorded(name, tmp_path):
    folder, target = FOLDERS / name, tmp_path / "out.csv"
    files = (f"bundle={folder / 'model'}", f"input={folder / 'input.csv'}", f"output={target}")
    predict(compose_run(tmp_path, *files, "accelerator=cpu", job="predict"))
    recorded, found = rows(folder / "predictions.csv"), rows(target)
    assert len(recorded) == 20
    probabilities = [float(row.pop("probability")) for row in recorded]
    assert [float(row.pop("probability")) for row in found] == pytest.approx(
        probabilities, rel=0, abs=TOLERANCE
    )
    assert {row.pop("reason") for row in found} == {""}
    assert found == recorded  # the texts and their labels


def test_both_heads_and_pairs_are_among_the_old_folders():
    assert {"linear", "pair", "residual"} <= set(NAMES)


def test_both_labels_are_predicted_by_each_old_folder():
    for name in NAMES:
        assert {row["prediction"] for row in rows(FOLDERS / name / "predictions.csv")} == {
            "negative",
            "positive",
        }
