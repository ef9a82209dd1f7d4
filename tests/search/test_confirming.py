"""A finished search trains its best and the configured settings with further seeds."""

import signal
import time

import optuna
import pytest

from tests import commands
from tests.search.sweeping import TASK, counts, start, study_in, sweep

pytestmark = pytest.mark.slow
ARGUMENTS = ["+seed=0", "x=interval(0.5,1.5)", "hydra.sweeper.n_trials=6"]
CONFIRM = "+hydra.sweeper.confirm=true"
KEYS = {f"confirmed {name}, seed {seed}" for name in ("configured", "trial {}") for seed in (1, 2, 3)}


def runs(study: optuna.Study) -> dict[str, dict]:
    return {name: each for name, each in study.user_attrs.items() if name.startswith("confirmed ")}


def value(x: float, seed: int) -> float:
    return x**2 + 0.01 * seed * (1 + 0.1 * abs(x))


@pytest.mark.parametrize("has_own_launcher", [False, True])
def test_values_are_beside_the_study(tmp_path, has_own_launcher):
    folder = tmp_path / "search"
    script = TASK.with_name("with_launcher.py") if has_own_launcher else TASK
    words = ["hydra.launcher._target_=own_launcher.OwnLauncher"] if has_own_launcher else []

    def search():
        multirun = ("--multirun", f"hydra.sweep.dir={folder}", *ARGUMENTS, CONFIRM, *words)
        return commands.run(str(script), *multirun, cwd=tmp_path)

    done = search()
    assert done.returncode == 0, done.stdout + done.stderr
    study = study_in(folder)
    assert counts(study) == {"complete": 6}
    best = study.best_trial
    found = runs(study)
    assert found.keys() == {key.format(best.number) for key in KEYS}
    for name, run in found.items():
        x = 1.0 if "configured" in name else best.params["x"]
        assert run["value"] == pytest.approx(value(x, int(name[-1])))
        assert str(folder / "confirm") in run["folder"]
    assert "Trained again with seeds 1, 2, 3, the settings of trial" in done.stdout
    assert "better by more than chance" in done.stdout
    assert search().returncode == 0
    assert runs(study_in(folder)) == found  # with their folders: nothing was run again
    assert len(list((folder / "confirm").iterdir())) == 6


def test_by_default_only_if_it_costs_little(tmp_path):
    folder = tmp_path / "search"
    done = sweep(folder, *ARGUMENTS)
    assert runs(study_in(folder)) == {}
    assert "Not measured with further seeds: training the best and the configured settings" in done.stdout


def test_an_interrupted_one_is_continued(tmp_path):
    folder = tmp_path / "search"
    arguments = [*ARGUMENTS, CONFIRM, "seconds=1.5", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=3"]
    search = start(folder, *arguments)
    try:
        ends = time.monotonic() + 60
        while not any(folder.glob("confirm/*_seed_2/began")):  # then those with seed 1 have ended
            assert search.poll() is None, search.communicate()
            assert time.monotonic() < ends
            time.sleep(0.05)
        search.send_signal(signal.SIGINT)
        shown, _ = search.communicate(timeout=60)
    finally:
        search.kill()
    assert "Interrupted" in shown
    done_before = runs(study_in(folder))
    assert 0 < len(done_before) < 6
    assert sweep(folder, *arguments).returncode == 0
    study = study_in(folder)
    assert counts(study) == {"complete": 3}
    assert len(runs(study)) == 6
    assert done_before.items() <= runs(study).items()  # with their folders: they weren't run again
