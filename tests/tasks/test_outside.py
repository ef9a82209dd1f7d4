"""A task outside of the package, in one file and one yaml, works everywhere without a change in the package."""

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
import yaml
from numpy.testing import assert_allclose
from transformers import AutoModelForSequenceClassification

from bert_ft.errors import ConfigError
from bert_ft.models.bundle import load_bundle
from tests import commands
from tests.conftest import GOOD, NEUTRAL
from tests.training.running import SMALL, file_overrides

OUTSIDE = Path(__file__).parent / "outside"
TRUST = "trust=[grade_task.*]"
TASK = [f"--config-dir={OUTSIDE / 'conf'}", "task=grade", TRUST]

slow = pytest.mark.slow


def graded(num_rows: int, seed: int) -> list[tuple[str, int]]:
    """Texts whose grade is the number of good words in them."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        grade = int(rng.integers(5))
        words = [*rng.choice(NEUTRAL, size=4), *rng.choice(GOOD, size=grade)]
        rng.shuffle(words)
        rows.append((" ".join(words), grade))
    return rows


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("graded")
    paths = {}
    for seed, (name, size) in enumerate({"train": 200, "validation": 40, "test": 40}.items()):
        paths[name] = folder / f"{name}.csv"
        with paths[name].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *graded(size, seed)])
    return paths


def run(folder: Path, module: str, *arguments: object) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(OUTSIDE), os.environ.get("PYTHONPATH", "")])
    return commands.run(module, *arguments, cwd=folder, env={**os.environ, "PYTHONPATH": path})


@pytest.fixture(scope="module")
def settings(files, tiny_encoder, tmp_path_factory) -> list[str]:
    cache = tmp_path_factory.mktemp("cache")
    own = [each for each in SMALL if not each.startswith(("monitor=", "report="))]
    return [*own, *file_overrides(files), f"encoder.name_or_path={tiny_encoder}", f"data.cache_dir={cache}"]


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory) -> Path:
    """The folder of a finished run, with its monitors and its report."""
    folder = tmp_path_factory.mktemp("trained")
    done = run(
        folder, "bert_ft.train", *TASK, *settings, "monitor=full", "trainer.max_epochs=8", "hydra.run.dir=run"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mean grade" in done.stdout
    return folder / "run"


def constant_error(path: Path) -> float:
    """The mean absolute error of the best single grade."""
    with path.open(newline="", encoding="utf-8") as file:
        grades = np.array([float(row["label"]) for row in csv.DictReader(file)])
    return float(np.abs(grades - np.median(grades)).mean())


@slow
def test_it_trains_and_validates(trained, files):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["objective"] == {"metric": "val/mae", "value": metrics["val"]["mae"]}
    assert set(metrics["test"]) == {"loss", "mae"}
    assert metrics["labels"] == ["grade"]
    assert metrics["test"]["mae"] < 0.7 * constant_error(files["test"])
    assert metrics["test"]["loss"] >= metrics["test"]["mae"] ** 2  # Jensen's inequality


@slow
def test_the_data_report_counts_what_the_task_counts(trained, files):
    report = json.loads((trained / "data_report.json").read_text())
    grades = [grade for _, grade in graded(200, 0)]
    counted = report["splits"]["train"]["label_counts"]
    assert counted["mean grade"] == pytest.approx(np.mean(grades))
    assert (counted["lowest"], counted["highest"]) == (0, 4)
    assert report["task"]["name"] == "grade"


@slow
def test_the_report_has_its_sections_and_no_others(trained):
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "<h2" in page
    for title in ("Training", "Layers", "Data", "Validation", "Representations"):
        assert (f">{title}</h2>" in page) == (title not in ("Validation", "Representations")), title
    assert not list((trained / "monitor").glob("validation_*"))


@slow
def test_it_is_saved_and_reloaded(trained, files, monkeypatch):
    specification = yaml.safe_load((trained / "model/bert_ft.yaml").read_text())
    assert specification["format"] == 3
    assert specification["task"] == {"name": "grade", "_target_": "grade_task.Grade", "highest": 4}
    config = json.loads((trained / "model/config.json").read_text())["encoder"]
    assert config["problem_type"] == "regression"
    with pytest.raises(ConfigError, match=r"task\._target_=grade_task\.Grade: isn't among the trusted"):
        load_bundle(trained / "model")
    monkeypatch.syspath_prepend(OUTSIDE)
    bundle = load_bundle(trained / "model", trust=["grade_task.*"])
    assert (type(bundle.task).__name__, bundle.task.highest, bundle.task.names) == ("Grade", 4, ("grade",))


@slow
def test_it_predicts_what_was_tested(trained, files):
    done = run(trained, "bert_ft.predict", "bundle=model", f"input={files['test']}", "output=y.csv", TRUST)
    assert done.returncode == 0, done.stderr
    with (trained / "y.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["text", "label", "grade", "score", "reason"]
    errors = [abs(float(row["score"]) - float(row["label"])) for row in rows]
    reported = json.loads((trained / "metrics.json").read_text())["test"]["mae"]
    assert np.mean(errors) <= reported + 1e-5  # predictions are clipped to the grades, tested values aren't
    assert all(row["grade"] == str(round(float(row["score"]))) for row in rows)


@slow
def test_it_is_searched(settings, tmp_path):
    overrides = ["hydra/sweeper=optuna", "search=none", "optimizer.lr=tag(log,interval(1e-4,1e-2))"]
    overrides += ["hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1", "hydra.sweep.dir=search"]
    overrides += ["trainer.max_epochs=2"]
    own = [each for each in settings if not each.startswith("optimizer.lr")]
    done = run(tmp_path, "bert_ft.train", "--multirun", *TASK, *own, *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search/study.db'}")
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    best = json.loads((tmp_path / f"search/{study.best_trial.number}/metrics.json").read_text())
    assert study.best_value == pytest.approx(best["val"]["mae"])
    assert (tmp_path / "search/study.html").exists()


@slow
def test_the_plain_loss_is_the_loss_of_training(settings, tmp_path):
    """``loss=plain`` trains as a class of the same formula does; the linear head loads in plain transformers."""
    fast = ["model=bert_linear", "debug=fast", "monitor=none", "report=false"]
    losses = []
    for name, overrides in {"plain": [], "own": ["~loss", "+loss._target_=grade_task.SquaredLoss"]}.items():
        done = run(tmp_path, "bert_ft.train", *TASK, *settings, *fast, f"hydra.run.dir={name}", *overrides)
        assert done.returncode == 0, done.stdout + done.stderr
        with (tmp_path / name / "csv/version_0/metrics.csv").open(newline="") as file:
            losses.append([float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")])
    assert len(losses[0]) == 4
    assert_allclose(losses[0], losses[1], rtol=1e-6)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain/model")
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    assert model(torch.tensor([[2, 3]])).logits.shape == (1, 1)


def refused(folder: Path, *arguments: object) -> str:
    done = run(folder, "bert_ft.train", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


@pytest.mark.slow
def test_what_means_nothing_for_it_is_refused_at_once(settings, tmp_path):
    wrong = ["loss.class_weights=balanced", "loss.r_drop_weight=1", "objective.metric=val/accuracy"]
    said = refused(tmp_path, *TASK, *settings, *wrong)
    assert "loss.class_weights=balanced: isn't supported by task=grade; set it to null" in said
    assert "loss.r_drop_weight=1: isn't supported by task=grade; set it to 0" in said
    assert "objective.metric=val/accuracy: must be one of val/mae, val/loss" in said
    assert not (tmp_path / "outputs").exists()


def test_without_trust_it_is_not_imported(settings, tmp_path):
    said = refused(tmp_path, *(each for each in TASK if each != TRUST), *settings)
    assert "task._target_=grade_task.Grade: isn't among the trusted classes" in said


@slow
def test_a_wrong_label_is_named_by_the_task(settings, files, tmp_path):
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("text,label\ngood,1\nbad,7\n", encoding="utf-8")
    said = refused(tmp_path, *TASK, *settings, f"data.validation_file={wrong}")
    assert "wrong.csv, row 2, column 'label': grade '7' isn't among 0 to 4" in said
