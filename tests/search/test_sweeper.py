"""Whole searches of a cheap task: the cases of Hydra's plugin, and what it can't do."""

import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf

from bert_ft.search.sweeper import OptunaSweeper
from bert_ft.search.trials.trial_link import VARIABLE
from tests.search.sweeping import TASK, children, counts, start, study_in, sweep, wait_until_gone, workers


def results_in(folder):
    return OmegaConf.load(folder / "optimization_results.yaml")


def test_is_found_by_hydra():
    assert OptunaSweeper in Plugins.instance().discover(Sweeper)


@pytest.mark.slow
def test_a_configuration_of_the_plugins(tmp_path):
    folder, url = tmp_path / "search", f"sqlite:///{tmp_path / 'own.db'}"
    storage = f"hydra.sweeper.storage={url}"
    done = sweep(
        folder, "--config-name=plugins", "hydra.job.chdir=true", storage, "y=0.5", "+z=choice('a b',c)"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    study = study_in(folder, url)
    found = results_in(folder)
    assert found.name == "optuna"
    assert dict(found.best_params) == study.best_params
    assert found.best_value == study.best_value
    assert study.best_params.keys() == {"x", "+z"}
    assert counts(study) == {"complete": 12}


@pytest.mark.slow
def test_grid_with_several_objectives(tmp_path):
    folder = tmp_path / "search"
    space = ["hydra/sweeper/sampler=grid", "x=choice(-1,1)", "y=range(0,3)"]
    done = sweep(folder, *space, "hydra.sweeper.direction=[minimize,minimize]", "two=true")
    assert done.returncode == 0, done.stdout + done.stderr
    study = study_in(folder)
    points = {(trial.params["x"], trial.params["y"]) for trial in study.trials}
    assert len(points) == len(study.trials) == 6  # of 20 that were asked for
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE] * 2
    # x² + y, (x - 2)² + y
    assert [each["values"] for each in results_in(folder).solutions] == [[1.0, 1.0]]


@pytest.mark.slow
def test_custom_search_space(tmp_path):
    folder = tmp_path / "search"
    extend = "+hydra.sweeper.custom_search_space=extend.configure"
    done = sweep(folder, extend, "seconds=0.3", "hydra.sweeper.n_trials=4")
    assert done.returncode == 0, done.stdout + done.stderr
    best = results_in(folder).best_params
    assert abs(best["x"] - best["y"]) <= 0.3
    assert 0 <= best["+w"] <= 1


@pytest.mark.slow
def test_failures(tmp_path):
    """Above the allowed rate the search ends with a message; at 1.0 it runs to its end."""
    ends, to_its_end = tmp_path / "ends", tmp_path / "to_its_end"
    ended = sweep(ends, "fails=error", "hydra.sweeper.n_trials=20")
    assert ended.returncode != 0
    assert "RuntimeError: config.fails is set" in ended.stderr
    assert counts(study_in(ends))["fail"] - counts(study_in(ends)).get("lost", 0) == 10
    assert "running" not in counts(study_in(ends))
    rate, grid = "hydra.sweeper.max_failure_rate=1", "hydra/sweeper/sampler=grid"
    done = sweep(to_its_end, "fails=error,crash,exit,diverges", rate, grid, "x=0")
    assert done.returncode == 0, done.stderr
    assert "config.fails is set" not in done.stderr
    study = study_in(to_its_end)
    assert counts(study) == {"fail": 4}
    reasons = {trial.params["fails"]: trial.user_attrs["reason"] for trial in study.trials}
    assert reasons["error"] == "RuntimeError: config.fails is set"
    assert "SIGSEGV" in reasons["crash"]
    assert reasons["exit"] == "SystemExit: 3"
    assert "nan" in reasons["diverges"]
    assert not (to_its_end / "optimization_results.yaml").exists()


@pytest.mark.slow
def test_resumed_to_n_trials_in_all(tmp_path):
    folder = tmp_path / "search"
    overrides = ["hydra.sweeper.sampler.seed=5"]
    assert sweep(folder, *overrides, "hydra.sweeper.n_trials=3").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/began")}
    done = sweep(folder, *overrides, "hydra.sweeper.n_trials=6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Resuming the search with 3 of 6 trials done" in done.stdout
    study = study_in(folder)
    assert counts(study) == {"complete": 6}
    assert len({trial.params["x"] for trial in study.trials}) == 6  # the same seed, and yet other values
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(folder.glob("*/began"))) == 6
    refused = {
        "hydra.sweeper.direction=maximize": "the study in",
        "y=interval(0,1)": "different search space: y differs",
    }
    for override, words in refused.items():
        other = sweep(folder, *overrides, override, "hydra.sweeper.n_trials=9")
        assert other.returncode != 0
        assert words in other.stderr
    assert counts(study_in(folder)) == {"complete": 6}


def wait_for_trial(process, folder):
    while not (folder / "began").exists():
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
def test_an_interrupted_search_is_resumed(tmp_path):
    folder = tmp_path / "search"
    process = start(folder, "hydra.sweeper.n_trials=6", "seconds=30")
    wait_for_trial(process, folder / "1")
    running = [*children(process.pid), *workers(process.pid)]
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert "Unfinished trials will be run again" in output
    assert str(TASK) in output
    found = counts(study_in(folder))
    assert "running" not in found
    assert found["lost"] == 2
    wait_until_gone(running)
    assert sweep(folder, "hydra.sweeper.n_trials=6").returncode == 0
    assert counts(study_in(folder))["complete"] == 6


@pytest.mark.slow
def test_another_launcher_gets_batches(tmp_path):
    folder = tmp_path / "search"
    words = [
        sys.executable,
        str(TASK.with_name("with_launcher.py")),
        "--multirun",
        f"hydra.sweep.dir={folder}",
    ]
    words += ["hydra.launcher._target_=own_launcher.OwnLauncher", "hydra.sweeper.n_trials=5"]
    words.append("hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner, n_warmup_steps: 3}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("batch of 2") == 2
    assert done.stdout.count("batch of 1") == 1
    study = study_in(folder)
    assert counts(study) == {"complete": 5}
    assert [trial.user_attrs["folder"] for trial in study.trials] == [str(folder / str(n)) for n in range(5)]
    assert len(list(folder.glob("*/began"))) == 5
    for job in folder.glob("*/.hydra/hydra.yaml"):
        address = OmegaConf.load(job).hydra.job.env_set[VARIABLE]
        assert json.loads(address)["pruner"] == {
            "_target_": "optuna.pruners.MedianPruner",
            "n_warmup_steps": 3,
        }


@pytest.mark.slow
def test_equal_settings_are_run_once_and_failed_ones_again_on_request(tmp_path):
    folder = tmp_path / "search"
    done = sweep(folder, "x=1", "y=choice(1,2)", "hydra.sweeper.n_trials=6")
    assert done.returncode == 0, done.stdout + done.stderr
    study = study_in(folder)
    assert counts(study) == {"complete": 6}
    assert {trial.value - trial.params["y"] for trial in study.trials} == {1.0}
    assert len(list(folder.glob("*/began"))) == len({trial.params["y"] for trial in study.trials})
    assert "with the same settings (not trained again)" in done.stdout
    done = sweep(folder, "x=1", "y=choice(1,2)", "hydra.sweeper.n_trials=1")
    assert "Nothing to run: the study has 6 trials, and hydra.sweeper.n_trials=1" in done.stdout
    failing = tmp_path / "failing"
    rate = "hydra.sweeper.max_failure_rate=1"
    assert sweep(failing, "fails=error", rate, "hydra.sweeper.n_trials=2").returncode == 0
    done = sweep(failing, "+hydra.sweeper.retry_failed=true", "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Running 2 failed trials again" in done.stdout
    assert counts(study_in(failing)) == {"complete": 2, "fail": 2}


@pytest.mark.slow
def test_several_interrupts_and_a_terminated_trial(tmp_path):
    folder = tmp_path / "search"
    process = start(folder, "hydra.sweeper.n_trials=4", "seconds=30")
    wait_for_trial(process, folder / "1")
    os.kill(workers(process.pid)[0], signal.SIGTERM)
    wait_for_trial(process, folder / "2")  # it is run again at once
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=60)
    assert output.index("resume with:") < output.index("No trial has been")
    assert "During handling" not in output
    study = study_in(folder)
    assert counts(study) == {"fail": 3, "lost": 3}
    assert any("was killed (SIGTERM)" in trial.user_attrs["reason"] for trial in study.trials)
