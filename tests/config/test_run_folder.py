"""Claiming a run's folder, and giving it back."""

import sys

import pytest
import yaml
from omegaconf import OmegaConf

from bert_ft.config.run_folder import claim, interrupted
from bert_ft.errors import ConfigError


def config(path, resume_from=None):
    return OmegaConf.create({"hydra": {"run": {"dir": str(path)}}, "resume_from": resume_from})


def test_two_runs_of_one_second_get_two_folders(tmp_path):
    first, second, third = (claim(config(tmp_path / "outputs/noon"), []) for _ in range(3))
    names = [folder.path.name for folder in (first, second, third)]
    assert names == ["noon", "noon_2", "noon_3"]
    assert all(folder.path.is_dir() for folder in (first, second, third))


def test_what_was_made_is_removed_again(tmp_path):
    (tmp_path / "kept").mkdir()
    folder = claim(config(tmp_path / "kept/a/b/run"), [])
    (folder.path / ".hydra").mkdir()
    (folder.path / "train.log").touch()
    folder.give_back()
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_a_parent_that_another_run_uses_meanwhile_stays(tmp_path):
    folder = claim(config(tmp_path / "outputs/one"), [])
    claim(config(tmp_path / "outputs/two"), [])
    folder.give_back()
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["two"]


def test_an_empty_folder_of_the_users_is_emptied_but_stays(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    folder = claim(config(path), [f"hydra.run.dir={path}"])
    (path / "train.log").touch()
    folder.give_back()
    assert list(path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.*: not an empty folder"):
        claim(config(tmp_path), [f"hydra.run.dir={tmp_path}"])


def started_with(tmp_path, *overrides):
    record = tmp_path / "run/.hydra/overrides.yaml"
    record.parent.mkdir(parents=True)
    record.write_text(yaml.safe_dump(list(overrides)))
    return tmp_path / "run/checkpoints/last.ckpt"


def test_a_resumed_run_keeps_everything(tmp_path):
    last = started_with(tmp_path, "seed=1")
    folder = claim(
        config(tmp_path / "run", str(last)), ["seed=1", f"resume_from={last}", "hydra.run.dir=run"]
    )
    record = tmp_path / "run/.hydra/overrides.yaml"
    before = record.read_text()
    record.write_text("[seed=2]")  # by Hydra, as the run is refused
    folder.give_back()
    assert record.read_text() == before


@pytest.mark.parametrize("place", ["checkpoints", "pretraining/checkpoints"])
def test_a_run_is_resumed_in_its_own_folder_or_leaves_nothing_behind(tmp_path, place):
    started_with(tmp_path, "seed=1")
    last = tmp_path / "run" / place / "last.ckpt"
    with pytest.raises(ConfigError, match=rf"add hydra\.run\.dir={tmp_path}/run$"):
        claim(config(tmp_path / "other", str(last)), ["seed=1", f"resume_from={last}"])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_an_interruption_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "orig_argv", ["python", "-m", "bert_ft.train", "resume_from=a run", "report=false"]
    )
    assert interrupted(None) == "interrupted"
    bare = claim(config(tmp_path / "bare"), [])
    assert interrupted(bare) == "interrupted before the first step"
    assert not bare.path.exists()
    begun = claim(config(tmp_path / "run"), [])
    started_with(tmp_path)
    line = f"to continue: python -m bert_ft.train resume_from={begun.path}"
    assert interrupted(begun) == f"interrupted before the first step; {line}"
    line = "to continue: python -m bert_ft.train 'resume_from=a run' report=false"
    assert (
        interrupted(claim(config(begun.path, begun.path), [])) == f"interrupted before the first step; {line}"
    )
    (begun.path / "metrics.json").touch()
    assert interrupted(begun) == f"interrupted after the run had finished; its results are in {begun.path}"


def test_a_run_without_a_checkpoint_starts_from_the_beginning(tmp_path, capsys):
    last = started_with(tmp_path)
    run = tmp_path / "run"
    claim(config(run, run), [])
    assert "stopped before its first checkpoint, so it starts from the beginning" in capsys.readouterr().err
    last.parent.mkdir()
    last.touch()
    claim(config(run, run), [])
    assert not capsys.readouterr().err
