import os
import socket
import subprocess
import sys

import optuna
import pytest
from optuna.distributions import FloatDistribution

from bert_ft.compat.optuna import engine_of
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, at, new_study


def test_what_a_trial_has_is_read():
    study = new_study()
    params, reported = {"optimizer.lr": 1e-4}, {20: 0.8, 10: 0.7, 30: float("nan")}
    notes = {"folder": "/sweep/0", "overrides": ["optimizer.lr=0.0001"], "worker": 1, "host": "here"}
    notes |= {"steps": 30, "total_steps": 40, "seconds_to_first_step": 2.5}
    add(study, "complete", 0.9, params, span=(5, 25), reported=reported, **notes)
    (trial,) = read_study(study).trials
    assert (trial.number, trial.state, trial.values, trial.params) == (0, "complete", (0.9,), params)
    assert (trial.start, trial.end, trial.seconds) == (at(5), at(25), 20.0)
    assert list(trial.reported.items()) == [(10, 0.7), (20, 0.8)]  # by step, the finite ones
    assert trial.last_reported == (20, 0.8)
    assert {name: getattr(trial, name) for name in notes} == notes


def test_what_the_search_noted_is_read():
    log = read_study(
        new_study(objective="val/f1", n_trials=20, command="python x", folder="/s", keep_top_k=5)
    )
    assert (log.name, log.objectives, log.maximize) == ("a search", ["val/f1"], [True])
    assert (log.num_wanted, log.command, log.folder, log.keep_top_k) == (20, "python x", "/s", 5)
    assert log.storage is None  # in memory
    other = read_study(new_study(["minimize"]))  # not by a search of this package
    assert (other.objectives, other.maximize, other.num_wanted, other.keep_top_k) == (
        ["value"],
        [False],
        None,
        3,
    )


def test_names_of_several_objectives():
    assert read_study(new_study(["minimize", "maximize"])).objectives == ["value 0", "value 1"]
    named = new_study(["minimize", "maximize"], objective=["val/loss", "speed"])
    assert read_study(named).objectives == ["val/loss", "speed"]
    with pytest.warns(Warning, match="set_metric_names is experimental"):
        named.set_metric_names(["a", "b"])
    assert read_study(named).objectives == ["a", "b"]


def test_a_running_trial_lasts_until_now():
    study = new_study()
    add(study, "running", span=(10, None))
    add(study, "waiting", span=None)
    running, waiting = read_study(study, now=at(70)).trials
    assert (running.state, running.seconds) == ("running", 60.0)
    assert (waiting.state, waiting.start, waiting.seconds) == ("waiting", None, None)
    (early, _) = read_study(study, now=at(0)).trials  # the clock of another machine
    assert early.seconds == 0.0


def test_a_running_trial_whose_process_is_gone_is_lost_since_the_last_thing_known():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    study = new_study()
    add(study, value=1, span=(0, 30))
    here = socket.gethostname()
    add(study, "running", span=(10, None), pid=ended.pid, host=here)
    add(study, "running", span=(10, None), pid=os.getpid(), host=here)
    add(study, "running", span=(10, None), pid=ended.pid, host="elsewhere")
    add(study, "running", span=(40, None), pid=ended.pid, host=here)
    add(study, "running", span=(10, None), pid=os.getpid(), pid_started="1", host=here)
    _, gone, alive, elsewhere, late, reused = read_study(study, now=at(100)).trials
    assert (gone.state, gone.end, gone.reason) == ("lost", at(30), "its process is gone")
    assert (alive.state, alive.end) == (elsewhere.state, elsewhere.end) == ("running", at(100))
    assert (late.state, late.end) == ("lost", at(40))
    assert reused.state == "lost"  # the number of its process is another's now


def test_a_lost_trial_has_ended_when_its_process_was_last_seen():
    study = new_study()
    add(study, "failed", span=(10, 5000), lost=True, last_seen=at(30).timestamp())
    add(study, "failed", span=(10, 20), lost=True, last_seen=at(30).timestamp())
    add(study, "failed", span=(10, 20), reason="NaN")
    trials = read_study(study, now=at(6000)).trials
    assert [trial.end for trial in trials] == [at(30), at(20), at(20)]
    assert [trial.state for trial in trials] == ["lost", "lost", "failed"]


def test_ranges_are_those_of_the_latest_trial():
    study = new_study()
    for high in (1.0, 2.0):
        add(study, params={"x": 0.5}, space={"x": FloatDistribution(0.0, high)}, value=1)
    assert read_study(study).distributions == {"x": FloatDistribution(0.0, 2.0)}


def test_the_password_of_a_storage_is_not_shown(tmp_path):
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'a.db'}")
    study = optuna.create_study(storage=storage)
    url = read_study(study).storage
    assert url == f"sqlite:///{tmp_path / 'a.db'}"
    engine = engine_of(storage)
    engine.url = engine.url.set(username="me", password="secret")
    assert "secret" not in read_study(study).storage
