import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from hydra.errors import ConfigCompositionException
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from bert_ft.config.paths import conf_dir
from bert_ft.search.results.study_log import read_study
from bert_ft.search.space.samplers import build_sampler
from bert_ft.search.study import trial_queue
from bert_ft.search.study.liveness import Owner
from bert_ft.search.study.storage import close, locked, now, open_storage
from bert_ft.search.study.trial_queue import FailedDrawError, TrialQueue, is_lost, num_claimed, to_run_again
from tests.search.study import servers
from tests.search.study.claiming import NAME

CLAIMING = Path(__file__).with_name("claiming.py")


def make_study(folder: Path, **settings) -> tuple[optuna.Study, TrialQueue]:
    storage = open_storage(f"sqlite:///{folder / 'study.db'}", create=True)
    study = optuna.create_study(study_name="study", storage=storage, load_if_exists=True, **settings)
    return study, TrialQueue(
        study, storage, n_trials=5, retry=1, draw=lambda trial: trial.suggest_float("x", 0, 1)
    )


def test_no_more_than_n_trials(tmp_path):
    study, queue = make_study(tmp_path)
    started = [queue.next() for _ in range(5)]
    assert queue.next() is None
    queue.end(queue.frozen(started[0]), {"reason": "it raised"})
    queue.end(queue.frozen(started[1]), {"pruned": True})
    assert queue.next() is None  # both count
    assert num_claimed(study.trials) == 5
    assert study.trials[0].user_attrs["reason"] == "it raised"
    assert study.trials[1].state == TrialState.PRUNED


def test_a_trial_whose_choices_do_not_go_together_fails_alone(tmp_path):
    _, queue = make_study(tmp_path)

    def draw(trial):
        if trial.number < 2:
            raise ConfigCompositionException("In 'train': a doesn't go\nwith that")

    queue._draw = draw
    for number in range(2):
        with pytest.raises(
            FailedDrawError, match=rf"^Trial {number} can't be composed: .* go with that$"
        ) as refusal:
            queue.next()
        assert refusal.value.trial.state == TrialState.FAIL
    assert [queue.next().number for _ in range(3)] == [2, 3, 4]
    assert queue.next() is None


def test_what_was_killed_is_run_again_with_the_same_values_and_mark(tmp_path):
    study, queue = make_study(tmp_path)
    study.enqueue_trial({"x": 0.5}, user_attrs={"as_configured": ["y"]})
    first = queue.next()
    assert queue.lose(queue.frozen(first), "killed", killed_individually=True)
    assert num_claimed(study.trials) == 0
    again = queue.next()
    assert (again.number, again.params) == (1, first.params)
    assert again.user_attrs["as_configured"] == ["y"]
    assert not to_run_again(study.trials)
    # the second time it fails for good: retry=1
    assert not queue.lose(queue.frozen(again), "killed", killed_individually=True)
    assert num_claimed(study.trials) == 1
    assert study.trials[1].user_attrs["reason"] == "killed, 2 times"
    assert queue.next().params != first.params


def test_a_kill_of_the_search_is_no_fault_of_the_trial(tmp_path):
    study, queue = make_study(tmp_path)
    trial = queue.next()
    for _ in range(4):
        assert queue.lose(queue.frozen(trial), "interrupted")
        again = queue.next()
        assert again.params == trial.params
        trial = again
    assert [is_lost(trial) for trial in study.trials] == [True] * 4 + [False]
    queue.lose(queue.frozen(trial), "interrupted")
    queue._queued_again()
    assert study.ask().params == {}  # lost before it has an owner or values
    queue.clear_away()
    assert queue.next().params == trial.params


def test_trials_of_dead_processes_are_ended(tmp_path):
    study, queue = make_study(tmp_path)
    alive, dead, elsewhere = [queue.next() for _ in range(3)]
    without = study.ask()
    dead.set_user_attr("owner", {**Owner.this_process().to_dict(), "started": "0"})
    other = Owner("elsewhere", "", 1, "1")
    elsewhere.set_user_attr("owner", other.to_dict())
    study.set_user_attr(other.heartbeat_key, now(queue.storage) - 3600)
    queue.clear_away()
    states = [trial.state.name for trial in study.trials]
    assert states[alive.number] == "RUNNING"
    assert states[dead.number] == states[without.number] == states[elsewhere.number] == "FAIL"
    assert study.trials[dead.number].user_attrs["reason"] == "the process that ran the search died"
    seen = study.trials[elsewhere.number].user_attrs["last_seen"]
    assert seen == pytest.approx(time.time() - 3600, abs=60)
    # its last heartbeat was before it started
    assert read_study(study).trials[elsewhere.number].seconds == 0.0


def test_what_another_process_has_ended_stays_as_it_is(tmp_path, caplog):
    study, queue = make_study(tmp_path)
    trial = queue.next()
    before = queue.frozen(trial)
    queue.fail(before, "taken for dead")
    queue.complete(before, [1.0])
    assert not queue.lose(before, "killed", killed_individually=True)
    assert study.trials[0].state == TrialState.FAIL
    assert "assumed this one had died" in caplog.text


def test_a_grid_is_completed_although_trials_are_lost(tmp_path):
    points = [0.0, 0.25, 0.5, 1.0]
    study, queue = make_study(tmp_path, sampler=optuna.samplers.GridSampler({"x": points}))
    queue.n_trials = 4
    study.ask()  # lost before it has drawn
    queue.clear_away()
    for number in range(5):
        trial = queue.next()
        if number == 2:
            queue.lose(queue.frozen(trial), "interrupted")
        else:
            queue.note(trial, worker=0)
            queue.end(queue.frozen(trial), {"values": [trial.params["x"]]})
    assert queue.next() is None
    assert sorted(trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))) == points
    assert len(study.trials) == 6


@pytest.mark.slow
def test_several_make_the_tables_of_one_database(tmp_path):
    """Plain Optuna fails: it looks for the tables and then makes them."""
    for number in range(3):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        barrier, failures = threading.Barrier(6), []

        def make(url=url, barrier=barrier, failures=failures):
            barrier.wait()
            try:
                close(open_storage(url, create=True))
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=make) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_a_batch_that_is_away_is_known_to_live(tmp_path, monkeypatch):
    study, queue = make_study(tmp_path)
    monkeypatch.setattr(trial_queue, "HEARTBEAT_SECONDS", 0.05)
    key = queue.owner.heartbeat_key
    beat, failures = queue.beat, [OperationalError("", None, Exception()), StorageInternalError()]

    def sometimes():
        if failures:
            raise failures.pop()
        beat()

    monkeypatch.setattr(queue, "beat", sometimes)
    with queue.beating():
        until = time.monotonic() + 20
        while key not in study.user_attrs:
            assert time.monotonic() < until
        first = study.user_attrs[key]
        while study.user_attrs[key] == first:
            assert time.monotonic() < until
    last = study.user_attrs[key]
    time.sleep(0.2)
    assert study.user_attrs[key] == last


def run_claiming(url: str, processes: int, trials: int) -> subprocess.Popen:
    words = [sys.executable, str(CLAIMING), url, str(processes), str(trials)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_shared(url: str, ended: list[list[int]], trials: int) -> None:
    numbers = [number for each in ended for number in each]
    assert sorted(numbers) == list(range(trials))  # each once, none lost
    storage = open_storage(url)
    study = optuna.load_study(study_name=NAME, storage=storage)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * trials
    assert all(trial.intermediate_values == {1: trial.value} for trial in study.trials)
    close(storage)


@pytest.mark.slow
def test_eight_workers_on_sqlite(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name=NAME, storage=open_storage(url, create=True))
    process = run_claiming(url, 8, 200)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "locked" not in errors
    check_shared(url, json.loads(output), 200)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_two_processes_on_a_server(tmp_path, name):
    """As two machines would: each process has four workers, and knows of the other only through the database."""
    if (reason := servers.reason_to_skip(name)) is not None:
        pytest.skip(reason)
    with servers.server(name, tmp_path) as url:
        both = [run_claiming(url, 4, 100) for _ in range(2)]  # which make its tables at the same time
        outputs = [process.communicate(timeout=300) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        check_shared(url, [each for output, _ in outputs for each in json.loads(output)], 100)
        check_lock([open_storage(url) for _ in range(3)])


def test_only_one_is_inside_the_lock(tmp_path):
    check_lock([open_storage(f"sqlite:///{tmp_path / 'study.db'}", create=True) for _ in range(4)])


def check_lock(storages):
    inside, most = 0, 0

    def enter(storage):
        nonlocal inside, most
        for _ in range(50):
            with locked(storage, "study"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0001)  # let the others try
                inside -= 1

    threads = [threading.Thread(target=enter, args=(storage,)) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    for storage in storages:
        close(storage)


@pytest.fixture(scope="module")
def thirty_trials(tmp_path_factory) -> Path:
    """A database of trials that say that 0.3 is best."""
    path = tmp_path_factory.mktemp("thirty") / "study.db"
    storage = open_storage(f"sqlite:///{path}", create=True)
    study = optuna.create_study(study_name="study", storage=storage)
    uniform = optuna.distributions.FloatDistribution(0, 1)
    for x, y in np.clip(0.3 + 0.2 * np.random.default_rng(0).normal(size=(30, 2)), 0, 1):
        params = {"x": float(x), "y": float(y)}
        value = float((x - 0.3) ** 2 + (y - 0.3) ** 2)
        study.add_trial(
            optuna.create_trial(params=params, distributions={"x": uniform, "y": uniform}, value=value)
        )
    close(storage)
    return path


@pytest.mark.slow
def test_asks_before_any_tell_spread_out(tmp_path, thirty_trials):
    """By the shipped settings; the plugin's, which switch both of Optuna's good defaults off, come close together."""
    ours = yaml.safe_load((conf_dir() / "hydra/sweeper/sampler/tpe.yaml").read_text())
    plugins = {"_target_": ours["_target_"], "multivariate": False, "constant_liar": False}
    spreads: dict[str, list[float]] = {"ours": [], "plugin's": []}
    for seed in range(3):
        for name, node in (("ours", ours), ("plugin's", plugins)):
            path = tmp_path / f"{name}{seed}.db"
            shutil.copy(thirty_trials, path)
            spreads[name].append(spread(ask_ten(path, {**node, "seed": seed}, 8)))
    # ten random points of the square are 0.16 apart
    assert np.mean(spreads["ours"]) > 0.12
    assert np.mean(spreads["ours"]) > 1.2 * np.mean(spreads["plugin's"])


def two_numbers(trial: optuna.Trial) -> None:
    trial.suggest_float("x", 0, 1)
    trial.suggest_float("y", 0, 1)


def ask_ten(path: Path, node: dict, n_jobs: int) -> np.ndarray:
    """``(10, 2)``: asked by ``n_jobs`` processes' samplers in turn."""
    queues = []
    for job in range(n_jobs):
        storage = open_storage(f"sqlite:///{path}")
        study = optuna.load_study(study_name="study", storage=storage, sampler=build_sampler(node, {}, job))
        queues.append(TrialQueue(study, storage, n_trials=99, retry=0, draw=two_numbers))
    asked = [queues[number % n_jobs].next().params for number in range(10)]
    for queue in queues:
        close(queue.storage)
    return np.array([[params["x"], params["y"]] for params in asked])


def spread(points: np.ndarray) -> float:
    """The mean distance of a point to the nearest other one."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).mean())


def test_the_lock_of_a_killed_process_is_free_though_its_child_lives(tmp_path):
    """Trials are forked from processes that claim others."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    close(open_storage(url, create=True))
    code = (
        "import os, sys, time\n"
        "from bert_ft.search.study.storage import locked, open_storage\n"
        f"with locked(open_storage({url!r}), 'study'):\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        print(child, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True
    )
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    storage = open_storage(url)
    try:
        with locked(storage, "study"):
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()
        close(storage)
