import shlex

import pytest

from bert_ft.reporting.command import repeat_command, working_folder
from bert_ft.reporting.run_log import RunLog

OVERRIDES = ["data=files", "data.train_file=my data/a.csv", "model.head.hidden_sizes=[768,256]", "~loss"]


def test_overrides_are_quoted_for_the_shell_and_the_seed_is_written_out():
    log = RunLog(folder=None, overrides=OVERRIDES, config={"seed": 0})
    command = repeat_command(log)
    assert shlex.split(command) == ["python", "-m", "bert_ft.train", *OVERRIDES, "seed=0"]
    assert "'data.train_file=my data/a.csv'" in command


@pytest.mark.parametrize("seed", ["seed=5", "+seed=5"])
def test_a_seed_that_was_given_is_not_doubled(seed):
    log = RunLog(folder=None, overrides=[seed], config={"seed": 5})
    assert repeat_command(log) == f"python -m bert_ft.train {seed}"


def test_where_a_run_goes_or_goes_on_from_is_left_out():
    log = RunLog(
        folder=None, overrides=["lr=1", "resume_from=last.ckpt", "hydra.run.dir=x"], metrics={"seed": 1}
    )
    assert repeat_command(log) == "python -m bert_ft.train lr=1 seed=1"


def test_a_folder_of_own_configuration():
    sources = [{"path": "/conf", "provider": "main"}, {"path": "/my conf", "provider": "command-line"}]
    hydra = {"hydra": {"runtime": {"cwd": "/home/me", "config_sources": sources}}}
    log = RunLog(folder=None, overrides=["model=mine"], hydra=hydra)
    assert repeat_command(log) == "python -m bert_ft.train '--config-dir=/my conf' model=mine"
    assert working_folder(log) == "/home/me"


def test_without_overrides():
    assert repeat_command(RunLog(folder=None)) is None
    assert working_folder(RunLog(folder=None)) is None
