"""A search of the main job: what its trials report, leave and don't touch."""

import json
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from tests import commands
from tests.training.running import SMALL, file_overrides

pytestmark = pytest.mark.slow

# a pruner that stops each trial that comes so far and isn't among the very best, after two complete ones
PRUNING = [
    "hydra/sweeper/pruner=percentile",
    "hydra.sweeper.pruner.percentile=1",
    "hydra.sweeper.pruner.n_startup_trials=2",
]
VALIDATIONS = ["trainer.val_check_interval=0.5", "averaging=ema", "callbacks.early_stopping.patience=4"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory, tiny_encoder, reviews) -> tuple[Path, optuna.Study]:
    """The folder and the study of a search of 8 trials, two at a time."""
    folder = tmp_path_factory.mktemp("searched") / "search"
    overrides = [
        "hydra/sweeper=optuna",
        "search=none",
        "data.batch_size=choice(16,32)",
        "optimizer.lr=tag(log,interval(1e-5,1e-2))",
        *(each for each in SMALL if not each.startswith(("data.batch_size", "optimizer.lr"))),
        *file_overrides(reviews),
        f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={folder.parent / 'cache'}",
        "logger=none",
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.sampler.seed=0",
        "hydra.sweeper.keep_top_k=null",
        "hydra.sweeper.report=false",
        f"hydra.sweep.dir={folder}",
        *PRUNING,
        *VALIDATIONS,
    ]
    done = commands.run("bert_ft.train", "--multirun", *overrides, cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.db'}")


def of_state(searched, state: TrialState) -> list[tuple[optuna.trial.FrozenTrial, Path]]:
    """The trials in a state, with their folders."""
    trials = [trial for trial in searched[1].trials if trial.state == state]
    return [(trial, Path(trial.user_attrs["folder"])) for trial in trials]


def test_each_trial_has_ended_and_the_first_one_is_as_configured(searched):
    complete, pruned = of_state(searched, TrialState.COMPLETE), of_state(searched, TrialState.PRUNED)
    trials = searched[1].trials
    assert len(complete) + len(pruned) == 8, [trial.user_attrs.get("reason") for trial in trials]
    assert len(complete) >= 2
    assert pruned
    assert trials[0].user_attrs["as_configured"] == []
    assert trials[0].params == {"data.batch_size": 16, "optimizer.lr": 3e-4}  # the encoder's default
    assert "as_configured" not in trials[1].user_attrs


def test_the_monitor_is_reported_by_optimizer_step(searched):
    """160 rows: 10 batches of 16, or 5 of 32, in an epoch with two validations."""
    _, study = searched
    for trial in study.trials:
        steps_each = {16: 10, 32: 5}[trial.params["data.batch_size"]]
        total = 3 * steps_each
        assert trial.user_attrs["total_steps"] == total
        expected = [
            epoch * steps_each + part for epoch in range(3) for part in (steps_each // 2, steps_each // 2 * 2)
        ]
        reported = list(trial.intermediate_values)
        assert reported == expected[: len(reported)]
        assert all(0 <= value <= 1 for value in trial.intermediate_values.values())
        assert trial.user_attrs["steps"] >= reported[-1]
        if trial.state == TrialState.PRUNED:
            assert trial.user_attrs["steps"] == reported[-1]


def test_what_complete_and_pruned_trials_leave(searched):
    """The objective is that of the kept checkpoint, and the test split is never used."""
    for trial, folder in of_state(searched, TrialState.COMPLETE):
        record = json.loads((folder / "metrics.json").read_text())
        assert trial.value == record["objective"]["value"] == record["val"]["accuracy"]
        assert trial.value in trial.intermediate_values.values()
        assert record["weights"].startswith("ema")
        assert record["test"] is None
        assert trial.user_attrs["validated_rows"] == record["rows"]["validation"]
        assert [path.name for path in folder.rglob("*.ckpt")] == ["best.ckpt"]
        assert (folder / "model/model.safetensors").is_file()
    for _, folder in of_state(searched, TrialState.PRUNED):
        assert not list(folder.rglob("*.ckpt"))
        assert not (folder / "model").exists()


def test_what_is_noted_of_a_trial(searched):
    folder, study = searched
    for trial in study.trials:
        noted = trial.user_attrs
        assert noted["folder"] == str(folder / str(trial.number))
        assert noted["worker"] in (0, 1)
        assert noted["seconds_to_first_step"] > 0
        assert f"data.batch_size={trial.params['data.batch_size']}" in noted["overrides"]
        assert not any(override.startswith(("test=", "+callbacks")) for override in noted["overrides"])
        assert (Path(noted["folder"]) / "console.log").stat().st_size > 0
        job = yaml.safe_load(Path(noted["folder"], ".hydra/config.yaml").read_text())
        assert job["test"] is False
    assert study.user_attrs["objective"] == "val/accuracy"
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
