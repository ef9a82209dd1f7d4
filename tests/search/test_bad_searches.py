"""What is wrong with a search is told in one line before a trial starts, and nothing is left behind."""

import os
import sys
from pathlib import Path

import optuna
import pytest

from bert_ft.search.space import space_of
from bert_ft.train import main

LR = "optimizer.lr=interval(1e-5,1e-3)"


def refused(folder: Path, *overrides: str) -> str:
    """What the command says; in a fork of the test's process, which has imported what it needs."""
    errors = folder / "stderr.txt"
    pid = os.fork()
    if not pid:
        descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 2)
        sys.stderr = os.fdopen(descriptor, "w")
        os.chdir(folder)
        sys.argv = ["train", "--multirun", "hydra/sweeper=optuna", "search=none", *overrides]
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 2, errors.read_text()
    (line,) = errors.read_text().splitlines()
    errors.unlink()
    return line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.lrr=interval(1e-5,1e-3)"], "optimizer.lrr: .*did you mean optimizer.lr?"),
        (["optimizer.lr=interval(1e-3,1e-5)"], "an empty range, since 0.001 is above 1e-05"),
        (["data.batch_size=range(8,8)"], "data.batch_size=range(8,8): an empty range"),
        (["optimizer.lr=tag(log,interval(0,1e-3))"], "there is no logarithm of 0.0"),
        (["optimizer.lr=interval(-1,1e-3)"], "optimizer.lr=-1.0: must be a number > 0"),
        ([LR, "hydra.sweeper.direction=minimize"], "direction=minimize: contradicts objective.mode=max"),
        ([LR, "hydra.sweeper.direction=upwards"], "direction=upwards: must be minimize or maximize"),
        ([LR, "hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs=0: must be an integer of at least 1"),
        ([LR, "hydra.sweeper.storage=sqlite:////proc/none/study.db"], "/proc/none/study.db: can't be used"),
        ([LR, "search=smal"], "search=smal: must be one of default, none, optuna, small"),
    ],
)
def test_is_refused(tmp_path, overrides, words):
    line = refused(tmp_path, *overrides)
    for part in words.split(".*"):
        assert part in line
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_study_of_something_else(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="lowest", storage=url, direction="minimize")
    where = [f"hydra.sweeper.storage={url}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert "lowest" in refused(tmp_path, LR, *where, "hydra.sweeper.study_name=lowest")
    other = optuna.create_study(study_name="dropout", storage=url, direction="maximize")
    other.set_user_attr("space", space_of({}, ["model.head.dropout=interval(0,0.5)"]).to_json())
    other.optimize(lambda trial: trial.suggest_float("model.head.dropout", 0, 0.5), n_trials=1)
    line = refused(tmp_path, LR, *where, "hydra.sweeper.study_name=dropout")
    assert "the study searches another space: model.head.dropout, optimizer.lr differ" in line
    assert len(optuna.load_study(study_name="dropout", storage=url).trials) == 1
