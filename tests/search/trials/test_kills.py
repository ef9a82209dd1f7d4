"""A search survives the death of any of its processes at any moment."""

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.search.sweeping import children, counts, kill, start, study_in, sweep, wait_until_gone, workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
]
TRIALS = 30
OVERRIDES = (f"hydra.sweeper.n_trials={TRIALS}", "hydra.sweeper.n_jobs=2", "seconds=0.1")
KILLS = 10


def check(folder: Path) -> None:
    """All trials have ended, each in a folder of its own, and the database is sound."""
    study = study_in(folder)
    found = counts(study)
    assert found["complete"] == TRIALS
    assert found.keys() <= {"complete", "fail", "lost"}
    assert found.get("fail", 0) == found.get("lost", 0)
    folders = [trial.user_attrs["folder"] for trial in study.trials if "folder" in trial.user_attrs]
    assert len(set(folders)) == len(folders)
    for trial in study.trials:
        if trial.state.name == "COMPLETE":
            path = Path(trial.user_attrs["folder"])
            assert (path / "began").read_text() == str(trial.user_attrs["pid"])
            assert trial.value == pytest.approx(trial.params["x"] ** 2)
    # what was lost has been run again with the same values
    for trial in study.trials:
        if "retry_of" in trial.system_attrs:
            lost = study.trials[trial.system_attrs["retry_of"]]
            wanted = {**lost.system_attrs.get("fixed_params", {}), **lost.params}
            # empty if it was lost before it had drawn any
            assert wanted == trial.system_attrs.get("fixed_params", {})
            assert trial.state.name != "COMPLETE" or wanted.items() <= trial.params.items()
    with sqlite3.connect(folder / "study.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def wait_for_workers(process: subprocess.Popen) -> list[int]:
    while process.poll() is None:
        if found := workers(process.pid):
            return found
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


def test_workers(tmp_path):
    rng = random.Random(0)
    folder = tmp_path / "search"
    process = start(folder, *OVERRIDES, "hydra.sweeper.retry=20")
    for _ in range(KILLS):
        kill(rng.choice(wait_for_workers(process)))
        time.sleep(rng.uniform(0, 0.3))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    check(folder)


def test_the_search_itself(tmp_path):
    """Only the process that hands out trials is killed, and in every other round all processes are."""
    rng = random.Random(1)
    folder = tmp_path / "search"
    for number in range(KILLS):
        process = start(folder, *OVERRIDES)
        wait_for_workers(process)
        time.sleep(rng.uniform(0, 0.4))
        left = [*children(process.pid), *workers(process.pid)]
        for pid in rng.sample([process.pid, *left], 1 + len(left)) if number % 2 else [process.pid]:
            kill(pid)
        process.communicate()
        wait_until_gone(left)
    done = sweep(folder, *OVERRIDES)
    assert done.returncode == 0, done.stdout + done.stderr
    check(folder)
