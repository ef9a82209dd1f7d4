"""What is written for a study of any kind: page, pictures, table, best settings."""

import csv

import pytest

from bert_ft.search.results.study_report import write_study_report
from tests.reporting.test_report import Page
from tests.search.results.studies import add, kinds, new_study, searched

pytestmark = pytest.mark.slow
KINDS = kinds()
EVERY = {
    "history",
    "intermediate_values",
    "importance",
    "slices",
    "rank_pairs",
    "parallel_coordinates",
    "timeline",
}
# kind of study → its pictures, and a text of its page
DRAWN = {
    "empty": (set(), "no trial has a value yet"),
    "one trial": ({"history", "timeline"}, "at least 10 complete or pruned trials are needed, 1 so far"),
    "all failed": ({"timeline"}, "no trial has a value yet"),
    "only pruned": (
        {"history", "intermediate_values", "timeline"},
        "at least 10 complete or pruned trials are needed, 3 so far",
    ),
    "only waiting": (set(), "no trial has started yet"),
    "all the same": (
        {"history", "timeline"},
        "not enough data: all trials have the same value",
    ),
    "no parameters": ({"history", "timeline"}, "no parameter has two values among complete trials"),
    "infinite and diverged": (
        EVERY - {"rank_pairs", "parallel_coordinates"},
        "fewer than two parameters have two values among complete trials",
    ),
    "lists and constants": (
        EVERY - {"intermediate_values"},
        "The same in every trial: always, point",
    ),
}


def a_word_of(figure) -> bytes:
    """Instead of a file that takes its time."""
    return "; ".join(axes.get_title(loc="left") for axes in figure.axes).encode()


@pytest.fixture(autouse=True)
def no_files_drawn(monkeypatch):
    monkeypatch.setattr("bert_ft.reporting.pictures.png", a_word_of)
    for name in ("NUM_TREES", "RESAMPLE_TREES", "RESAMPLES"):
        monkeypatch.setattr(f"bert_ft.search.results.importance.{name}", 4)


def report_of(study, folder) -> Page:
    path = write_study_report(study, folder)
    assert path == folder / "study.html"
    return Page(path.read_text(encoding="utf-8"))


def pictures(folder) -> set[str]:
    return {path.stem for path in (folder / "study").iterdir()}


@pytest.mark.parametrize("kind", DRAWN)
def test_every_kind_of_study_has_its_page(tmp_path, kind):
    study = KINDS[kind]
    drawn, words = DRAWN[kind]
    page = report_of(study, tmp_path)
    assert pictures(tmp_path) == drawn
    assert len(page.of("img")) == len(drawn)
    assert words in page.text
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(study.trials)
    assert (tmp_path / "best.yaml").exists() == any(trial.state.name == "COMPLETE" for trial in study.trials)


def test_a_search_with_everything(tmp_path):
    study = searched(30, objective="val/accuracy", n_trials=50, command="python -m bert_ft.train --multirun")
    page = report_of(study, tmp_path)
    assert pictures(tmp_path) == EVERY
    assert "30 of 50 ended (21 complete, 6 pruned, 3 failed)" in page.text
    assert "python -m bert_ft.train --multirun" in page.text
    assert f"val/accuracy {study.best_value:.4f} in trial {study.best_trial.number}" in page.text
    for heading in ("Trial statistics", "Failures", "All trials", "Time of the workers", "At the edge"):
        assert heading in page.text or f"Left out: {heading}" in page.text
    assert f" trial {study.best_trial.number} " in page.text  # the head of its column
    assert "loss is NaN at step 40" in page.text
    assert "Repeats the best trial" in page.text
    best = study.best_trial.params
    assert f"optimizer.lr={best['optimizer.lr']}" in page.text
    assert (tmp_path / "best.yaml").read_text() == (tmp_path / "experiment/best.yaml").read_text()
    assert f"batch_size: {best['data.batch_size']}" in page.text


def test_several_objectives(tmp_path):
    page = report_of(searched(12, objectives=3), tmp_path)
    assert pictures(tmp_path) == EVERY - {"intermediate_values"} | {"pareto_front", "slices_1", "slices_2"}
    assert "no other trial dominates them" in page.text
    assert (tmp_path / "best.yaml").read_text().splitlines()[1].count("value ") == 3


def test_texts_of_others_are_escaped_and_no_password_is_shown(tmp_path):
    address = "postgresql://me:sec:ret@server/searches"
    study = new_study(command=f"python -m bert_ft.train --multirun 'hydra.sweeper.storage={address}' seed=1")
    add(study, "failed", reason="<script>alert('x')</script> & <b>bold</b>", folder="/<i>")
    page = report_of(study, tmp_path)
    assert page.of("script") == page.of("b") == page.of("i") == []
    assert "<script>alert('x')</script> & <b>bold</b>" in page.text
    assert "ret@" not in page.text
    assert "postgresql://me:***@server/searches" in page.text


def test_a_later_report_takes_the_earlier_ones_place(tmp_path):
    study = searched(20)
    (tmp_path / "best.yaml").write_text("mine: 1")
    report_of(study, tmp_path)
    assert (tmp_path / "best.yaml").read_text() == "mine: 1"  # a user's file in the place of the link stays
    (tmp_path / "best.yaml").unlink()
    before = (tmp_path / "experiment/best.yaml").read_text()
    add(study, "complete", 2.0, study.trials[0].params, overrides=["optimizer.lr=0.5"])
    (tmp_path / "study/of_an_earlier_version.png").touch()
    page = report_of(study, tmp_path)
    assert page.of("script") == page.of("link") == page.of("iframe") == []
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("src"))
    targets = [target.removeprefix("#") for target in page.attributes("href")]
    assert len(targets) >= 4
    assert set(targets) <= set(page.attributes("id"))
    assert "in trial 20 (maximized)" in page.text
    assert pictures(tmp_path) == EVERY
    assert (tmp_path / "best.yaml").read_text() != before
    assert "lr: 0.5" in (tmp_path / "best.yaml").read_text()
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]  # nothing half written
