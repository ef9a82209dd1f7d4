"""Hydra's other launchers: a killed worker costs its trials alone, which are run again."""

import os
import signal
import time

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from tests.search.sweeping import counts, start, study_in, wait_until_gone

pytestmark = pytest.mark.slow
INSTALLED = {each.__module__ for each in Plugins.instance().discover(Launcher)}


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGTERM])
def test_six_trials_of_which_one_is_killed(tmp_path, launcher, signal_sent):
    plugin = f"hydra_{launcher.removesuffix('_local')}_launcher"
    if not any(plugin in module for module in INSTALLED):
        pytest.skip(f"{plugin} isn't installed")
    folder = tmp_path / "search"
    process = start(folder, f"hydra/launcher={launcher}", "hydra.sweeper.n_trials=6", "seconds=2")
    while not (folder / "1" / "began").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(int((folder / "1" / "began").read_text()), signal_sent)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    study = study_in(folder)
    found = counts(study)
    assert found["complete"] == 6
    assert found.keys() <= {"complete", "fail", "lost"}
    assert found.get("fail", 0) == found.get("lost", 0)
    assert all(
        trial.value == pytest.approx(trial.params["x"] ** 2)
        for trial in study.trials
        if trial.value is not None
    )


def test_a_terminated_search_leaves_no_workers_behind(tmp_path):
    if not any("hydra_joblib_launcher" in module for module in INSTALLED):
        pytest.skip("hydra_joblib_launcher isn't installed")
    folder = tmp_path / "search"
    process = start(folder, "hydra/launcher=joblib", "hydra.sweeper.n_trials=6", "seconds=60")
    while not (folder / "1" / "began").exists():
        assert process.poll() is None
        time.sleep(0.05)
    workers = [int(path.read_text()) for path in folder.glob("*/began")]
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert "Unfinished trials will be run again" in output
    wait_until_gone(workers)
    assert "running" not in counts(study_in(folder))
