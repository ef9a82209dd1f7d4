"""Trials of two starts of a search are compared only if they can be."""

import logging

import pytest
from omegaconf import OmegaConf
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

from bert_ft.errors import ConfigError
from bert_ft.search.settings import SearchSettings
from bert_ft.search.space.space import space_of
from bert_ft.search.study.comparable import differences, shared_settings
from bert_ft.search.study.opened_study import OpenedStudy, open_study
from bert_ft.search.study.storage import close

SPACE = space_of({}, ["optimizer.lr=interval(0.1,1)", "loss=choice(a,b)"])


def config_of(folder, *, given: bool = True, **changed):
    config = {
        "optimizer": {"lr": 0.5, "weight_decay": 0.1},
        "loss": {"gamma": 2},
        "data": {"train_file": str(folder / "d.csv"), "cache_dir": "here"},
        "monitor": {"every": 5},
        "objective": {"metric": "val/accuracy", "others": []},
        "hydra": {
            "sweep": {"dir": str(folder / "s")},
            "overrides": {"hydra": [f"hydra.sweep.dir={folder}"] if given else []},
            "runtime": {"choices": {"loss": "a", "model": "big", "hydra/sweeper": "optuna"}},
        },
    }
    config = OmegaConf.create(config)
    for key, value in changed.items():
        OmegaConf.update(config, key, value)
    return config


def opened(folder, config, **settings) -> OpenedStudy:
    settings = SearchSettings(sampler=RandomSampler(), **settings)
    found = open_study(settings, config, SPACE, ["maximize"], NopPruner(), 9, config)
    close(found.storage)
    return found


@pytest.fixture(autouse=True)
def _files(tmp_path):
    (tmp_path / "d.csv").write_text("text,label\na,b\n")


def test_what_all_trials_share(tmp_path):
    found = shared_settings(config_of(tmp_path), SPACE.distributions)
    assert found.keys() == {"optimizer.weight_decay", "data.train_file", "objective.metric", "model"}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/d.csv").write_bytes((tmp_path / "d.csv").read_bytes())
    moved = config_of(tmp_path, **{"data.train_file": str(tmp_path / "elsewhere/d.csv"), "new.key": 1})
    assert differences(found, shared_settings(moved, SPACE.distributions)) == {}


def test_another_objective_or_other_data_are_refused_and_other_settings_named(tmp_path, caplog):
    opened(tmp_path, config_of(tmp_path))
    assert opened(tmp_path, config_of(tmp_path)).settings is None
    with pytest.raises(
        ConfigError, match=r"^objective.metric=val/f1: the study s has values of val/accuracy"
    ):
        opened(tmp_path, config_of(tmp_path, **{"objective.metric": "val/f1"}))
    with caplog.at_level(logging.WARNING):
        other = opened(tmp_path, config_of(tmp_path, **{"optimizer.weight_decay": 0.2, "monitor.every": 1}))
    assert other.settings is not None
    assert [record.message for record in caplog.records] == [
        "The study continues with optimizer.weight_decay=0.2 (before: 0.1): are its trials still comparable?"
    ]
    (tmp_path / "d.csv").write_text("text,label\na,c\n")
    with pytest.raises(
        ConfigError, match=r"^data.train_file: has different content \(file of 15 bytes, .*study s was"
    ):
        opened(tmp_path, config_of(tmp_path))


def test_the_order_of_the_overrides_says_nothing(tmp_path, caplog):
    config = config_of(tmp_path)
    for words in (["a=1", "b=2"], ["b=2", "a=1"]):
        space = space_of({}, ["optimizer.lr=interval(0.1,1)", *words])
        settings = SearchSettings(sampler=RandomSampler())
        close(open_study(settings, config, space, ["maximize"], NopPruner(), 9, config).storage)
    assert not caplog.records


def test_a_folder_or_study_named_by_the_second_is_one_searchs_own(tmp_path):
    config = config_of(tmp_path, given=False)
    folders = [opened(tmp_path, config).folder.name for _ in range(3)]
    assert folders == ["s", "s_2", "s_3"]
    url = f"sqlite:///{tmp_path / 'all.db'}"
    names = [opened(tmp_path, config, storage=url).study.study_name for _ in range(2)]
    assert names == ["s", "s_2"]


def test_a_given_folder_does_not_continue_a_study_of_another_one(tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    opened(tmp_path, config_of(tmp_path), storage=url)
    opened(tmp_path, config_of(tmp_path), storage=url)  # its own is continued
    config = config_of(tmp_path, **{"hydra.sweep.dir": str(tmp_path / "other" / "s")})
    with pytest.raises(
        ConfigError, match=r"holds a study s of another folder, .*give hydra.sweeper.study_name"
    ):
        opened(tmp_path, config, storage=url)
