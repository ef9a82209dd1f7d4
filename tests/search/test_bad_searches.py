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
        (["objective.metric=choice(val/accuracy,val/f1_macro)"], "decides how trials are measured"),
        (["+optimizer.lr=interval(1e-4,1e-3)"], "+optimizer.lr: optimizer.lr already exists; drop the +"),
        (
            ["objective.others=[val/loss]", "hydra.sweeper.direction=[maximize,maximize]"],
            "hydra.sweeper.direction=maximize: contradicts objective.others=val/loss, which is better when lower",
        ),
        (
            ["search=none", "pretrain=choice(none,mlm)", "pretrain.trainer.max_stepps=3"],
            "there is no key pretrain.trainer.max_stepps",
        ),
        (
            ["model.head.hidden_sizes=[16]", "model=bert_linear"],
            "model.head.hidden_sizes=[16]: there is no key model.head",
        ),
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


def test_a_search_is_not_one_of_several_processes(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(sys, "argv", ["train", "--multirun", "hydra/sweeper=optuna"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("LOCAL_RANK=1: a sweep can't run as one of several processes")


@pytest.mark.parametrize("word", ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"])
def test_a_search_without_multirun(tmp_path, monkeypatch, capsys, word):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", word])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"{word}: belongs to a search; add --multirun hydra/sweeper=optuna\n"
