"""The best trial's file and command, as Hydra reads them."""

import shlex
from pathlib import Path

import hydra
import pytest
import yaml

from bert_ft.config.paths import conf_dir
from bert_ft.search.results.best_settings import (
    JobRecord,
    experiment,
    overrides_of,
    read_record,
    repeat_command,
)
from bert_ft.search.results.study_log import StudyLog, TrialLog

OVERRIDES = [
    "optimizer.lr=0.00012",
    "model.head.hidden_sizes=[768,384]",
    "loss=focal",
    "loss.gamma=1.5",
    "+metrics.kappa._target_=torchmetrics.classification.MulticlassCohenKappa",
    "objective.metric='val/kappa'",
    "model.pooling={_target_:my_package.Pooling,share:0.25}",
    "trust=[my_package.*]",
    "schedule.warmup_ratio=null",
    "schedule.warmup_steps=10",
    "search=small",
    "hydra.sweeper.n_trials=5",
]
CHOICES = {"loss": "focal", "model": "bert_residual", "experiment": None, "search": "small"}


def trial_of(overrides, **settings) -> TrialLog:
    return TrialLog(4, "complete", (0.9312345,), overrides=overrides, **settings)


def compose(folder: Path, *overrides: str):
    search_path = f"hydra.searchpath=[file://{folder}]"
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        return hydra.compose("train", [search_path, *overrides])


def write(folder: Path, trial: TrialLog, record: JobRecord) -> str:
    log = StudyLog("a search", [trial], ["val/kappa"], [True])
    text = experiment(log, trial, record, folder)
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "experiment/best.yaml").write_text(text)
    return text


def test_the_file_is_the_trial(tmp_path):
    """What Hydra makes of the file equals what it makes of the trial's overrides."""
    trial = trial_of(OVERRIDES)
    text = write(tmp_path, trial, JobRecord(CHOICES, seed=7))
    expected = compose(tmp_path, *OVERRIDES[:10], "seed=7")
    assert compose(tmp_path, "experiment=best", "trust=[my_package.*]") == expected
    assert text.startswith(
        "# @package _global_\n# Trial 4 of a search: val/kappa 0.9312\n"
        f"#   python -m bert_ft.train --config-dir={tmp_path} experiment=best 'trust=[my_package.*]'\n"
    )


def test_the_file_without_hydras_record(tmp_path):
    # debug comes after experiment in the list of defaults, and the trial's own values after both
    overrides = ["debug=fast", "loss=focal", "optimizer.lr=1e-3", "seed=3", "trainer.limit_val_batches=3"]
    write(tmp_path, trial_of(overrides), JobRecord())
    assert compose(tmp_path, "experiment=best") == compose(tmp_path, *overrides)


def test_a_deletion_stands_in_the_command(tmp_path):
    text = write(tmp_path, trial_of(["~callbacks.early_stopping", "optimizer.lr=1e-3"]), JobRecord(CHOICES))
    command = text.splitlines()[2].removeprefix("#   ")
    assert shlex.split(command)[-1] == "~callbacks.early_stopping"
    found = compose(tmp_path, *shlex.split(command)[4:])
    assert "early_stopping" not in found.callbacks
    assert found.optimizer.lr == 1e-3


def test_an_experiment_of_the_users_own_comes_in(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nseed: 11\noptimizer:\n  lr: 0.5\n")
    write(tmp_path, trial_of(["experiment=mine", "optimizer.lr=1e-3"]), JobRecord({"experiment": "mine"}))
    found = compose(tmp_path, "experiment=best")
    assert (found.seed, found.optimizer.lr) == (11, 1e-3)


def test_the_best_of_an_earlier_search_comes_in_below_new_choices(tmp_path):
    """Its file has the name that the new one gets."""
    earlier = trial_of(["loss=focal", "schedule=cosine", "optimizer.lr=0.5", "optimizer.weight_decay=0.25"])
    write(tmp_path / "one", earlier, JobRecord({"loss": "focal", "schedule": "cosine"}, seed=11))
    record = JobRecord({"experiment": "best", "loss": "r_drop"}, own_folders=[str(tmp_path / "one")])
    write(tmp_path, trial_of(["experiment=best", "loss=r_drop", "optimizer.lr=1e-3"]), record)
    found = compose(tmp_path, "experiment=best")
    expected = compose(tmp_path, "loss=r_drop", "schedule=cosine")
    assert (found.loss, found.schedule) == (expected.loss, expected.schedule)
    assert (found.seed, found.optimizer.lr, found.optimizer.weight_decay) == (11, 1e-3, 0.25)


def test_own_folders_of_configuration_are_in_the_command(tmp_path):
    record = JobRecord({"model": "mine"}, own_folders=["/my conf"])
    trial = trial_of(["model=mine"])
    assert repeat_command(trial, record) == "python -m bert_ft.train '--config-dir=/my conf' model=mine"
    text = experiment(StudyLog("a search", [trial], ["value"], [True]), trial, record, tmp_path)
    assert text.splitlines()[2] == "#   python -m bert_ft.train '--config-dir=/my conf' model=mine"


def test_the_command_leaves_out_what_only_a_search_has():
    words = shlex.split(repeat_command(trial_of(OVERRIDES), JobRecord(seed=0)))
    assert words == ["python", "-m", "bert_ft.train", *OVERRIDES[:10], "seed=0"]


def test_without_overrides_the_parameters_are_taken():
    params = {"a": None, "b": True, "c": 1e-5, "d": [1, 2], "e": "[384]"}
    trial = TrialLog(0, "complete", (1.0,), params=params)
    assert overrides_of(trial) == ["a=null", "b=true", "c=1e-05", "d=[1,2]", "e=[384]"]


def test_hydras_record_is_read(tmp_path):
    (tmp_path / ".hydra").mkdir()
    sources = [{"path": "/conf", "provider": "main"}, {"path": "/mine", "provider": "command-line"}]
    runtime = {"choices": {"loss": "focal"}, "config_sources": sources}
    (tmp_path / ".hydra/hydra.yaml").write_text(
        yaml.safe_dump({"hydra": {"runtime": runtime, "job": {"config_name": "pretrain"}}})
    )
    (tmp_path / ".hydra/config.yaml").write_text("seed: 5")
    assert read_record(str(tmp_path)) == JobRecord({"loss": "focal"}, ["/mine"], 5, "pretrain")


@pytest.mark.parametrize("content", [None, "[", "a list of nothing", "hydra: {}"])
def test_a_record_that_is_missing_or_broken_says_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / ".hydra").mkdir()
        for name in ("hydra.yaml", "config.yaml"):
            (tmp_path / ".hydra" / name).write_text(content)
    assert read_record(str(tmp_path)) == JobRecord()
    assert read_record(None) == JobRecord()
