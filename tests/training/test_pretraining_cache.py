"""A stage that is made once: also by two processes, also after one of them died."""

import os
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from bert_ft.training.pretraining_cache import made_once, stage_key
from tests.data.test_augmentation import split_of


def write(entry: Path) -> None:
    (entry / "made").write_text("whole")


def test_the_second_takes_what_the_first_made(tmp_path):
    for is_new in (True, False):
        with made_once(tmp_path, "key", write, num_kept=2) as (entry, was_made):
            assert was_made is is_new
            assert (entry / "made").read_text() == "whole"
    with made_once(tmp_path, "other", write, num_kept=2) as (_, was_made):
        assert was_made


def test_what_fails_leaves_nothing_to_be_taken(tmp_path):
    def fail(entry):
        (entry / "half").touch()
        raise OSError("full")

    with pytest.raises(OSError, match="full"), made_once(tmp_path, "key", fail, num_kept=2):
        pass
    with made_once(tmp_path, "key", write, num_kept=2) as (entry, was_made):
        assert was_made
        assert [path.name for path in entry.iterdir()] == ["made"]


def test_those_used_last_are_kept(tmp_path):
    for number, key in enumerate(["a", "b", "a", "c"]):
        with made_once(tmp_path, key, write, num_kept=2) as (entry, _):
            os.utime(entry, (number, number))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "c"]


def test_nothing_is_taken_that_was_dropped_by_half(tmp_path, monkeypatch):
    with made_once(tmp_path, "old", write, num_kept=1) as (old, _):
        os.utime(old, (0, 0))
    with monkeypatch.context() as patch:  # the process dies before it has removed a file
        patch.setattr("bert_ft.training.pretraining_cache.shutil.rmtree", lambda *_, **__: None)
        with made_once(tmp_path, "new", write, num_kept=1):
            pass
    assert [path.name for path in tmp_path.rglob("made")] != ["made"]
    with made_once(tmp_path, "old", write, num_kept=2) as (_, was_made):
        assert was_made


def test_what_processes_that_died_have_left_is_removed(tmp_path):
    (tmp_path / "other.unfinished").mkdir(parents=True)
    with made_once(tmp_path, "key", write, num_kept=2):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["key"]


def test_what_is_in_use_is_not_dropped(tmp_path):
    with made_once(tmp_path, "old", write, num_kept=1) as (old, _):
        os.utime(old, (0, 0))
        with made_once(tmp_path, "new", write, num_kept=1):
            pass
        assert (old / "made").exists()


def make_slowly(root, log, dies=False):
    def make(entry):
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        if dies:
            os._exit(9)
        write(entry)

    with made_once(Path(root), "key", make, num_kept=2) as (entry, _):
        assert (entry / "made").read_text() == "whole"


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True])
def test_of_concurrent_processes_one_makes_it_and_the_death_of_one_holds_up_nobody(tmp_path, dies):
    log = tmp_path / "log"
    context = get_context("fork")
    first = context.Process(target=make_slowly, args=(tmp_path / "cache", log, dies))
    first.start()
    while not log.exists():
        time.sleep(0.01)
    others = [context.Process(target=make_slowly, args=(tmp_path / "cache", log)) for _ in range(2)]
    for process in others:
        process.start()
    for process in (first, *others):
        process.join(20)
    assert [process.exitcode for process in others] == [0, 0]
    made_by = log.read_text().split()
    assert len(made_by) == (2 if dies else 1)
    assert made_by[0] == str(first.pid)


class TestKey:
    SPLIT = split_of([np.arange(5), np.arange(3)], labels=np.array([0, 1]))

    def key(self, settings=None, weights=None, split=None, with_labels=True):
        weights = weights or {"a": torch.zeros(2), "b": torch.ones(3)}
        return stage_key(settings or {"lr": 1e-4}, weights, [split or self.SPLIT], with_labels=with_labels)

    def test_is_that_of_its_content(self):
        again = split_of([np.arange(5), np.arange(3)], labels=np.array([0, 1]))
        assert self.key() == self.key({"lr": 1e-4}, {"b": torch.ones(3), "a": torch.zeros(2)}, again)

    @pytest.mark.parametrize(
        "changes",
        [
            {"settings": {"lr": 2e-4}},
            {"weights": {"a": torch.zeros(2), "b": torch.tensor([1.0, 1.0, 1.0 + 1e-7])}},
            {"weights": {"a": torch.zeros(2), "c": torch.ones(3)}},
            {"weights": {"a": torch.zeros(2, 1), "b": torch.ones(3)}},
            {"split": split_of([np.arange(5), np.arange(1, 4)], labels=np.array([0, 1]))},
            {"split": split_of([np.arange(3), np.arange(5)], labels=np.array([0, 1]))},
            {"split": split_of([np.arange(4), np.array([4, 0, 1, 2])], labels=np.array([0, 1]))},
            {"split": split_of([np.arange(5), np.arange(3)], labels=np.array([1, 1]))},
        ],
    )
    def test_changes_with_each_part(self, changes):
        assert self.key(**changes) != self.key()

    def test_labels_count_where_they_take_part(self):
        other = split_of([np.arange(5), np.arange(3)], labels=np.array([1, 1]))
        assert self.key(split=other, with_labels=False) == self.key(with_labels=False)
