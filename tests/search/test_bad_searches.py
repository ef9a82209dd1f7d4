"""What a user gets wrong in a search: one clear line before any trial starts."""

import sys

import pytest

from bert_ft.train import main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.lrr=interval(0,1)"], "there is no key optimizer.lrr; did you mean optimizer.lr?"),
        (["optimizer.lr=interval(1,0.1)"], "optimizer.lr=interval(1,0.1): an empty range"),
        (["optimizer.lr=interval(-1,1)"], "optimizer.lr=-1.0: must be a number > 0"),
        (["hydra.sweeper.direction=minimize"], "direction=minimize: contradicts objective.mode=max"),
        (["hydra.sweeper.n_trials=0", "hydra.sweeper.retry=-1"], "sweeper.retry=-1: must be an integer"),
        (["hydra.sweeper.direction=[maximize,minimize]"], "2 for val/accuracy; give one for each"),
        (["objective.others=[val/los]"], "objective.others=val/los: must be among val/accuracy, "),
        (
            ["hydra.sweeper.storage=sqlite:////proc/no/study.db"],
            "=sqlite:////proc/no/study.db: can't be used",
        ),
        (["search=smal"], "search=smal: must be one of default, none, small"),
        (["hydra/sweeper/sampler=grid"], "a grid (hydra/sweeper/sampler=grid) needs separate values"),
        (["hydra.sweeper.custom_search_space=nothing.here"], "custom_search_space=nothing.here: can't"),
    ],
)
def test_refused(tmp_path, monkeypatch, capsys, overrides, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "--multirun", "hydra/sweeper=optuna", *overrides])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []
