"""The configuration as the first trial."""

import optuna
import pytest
from omegaconf import OmegaConf

from bert_ft.search.space.first_trial import configured, left_null
from bert_ft.search.space.space import space_of
from bert_ft.search.study.storage import open_storage
from bert_ft.search.study.trial_queue import queue_as_configured

CONFIG = {
    "lr": 2e-4,
    "rate": 0.1,
    "size": 16,
    "sizes": [384],
    "name": "mean",
    "flag": True,
    "also": "${size}",
    "hydra": {"runtime": {"choices": {"loss": "focal"}}},
}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lr=tag(log,interval(1e-5,1e-3))", {"lr": 2e-4}),
        ("lr=tag(log,interval(1e-3,1e-2))", {}),
        ("rate=range(0.0,0.45,0.1)", {"rate": 0.1}),
        ("rate=range(0.0,0.6,0.2)", {}),
        ("size=range(8,33,8)", {"size": 16}),
        ("size=range(8,33,5)", {}),
        ("size=choice(16,32)", {"size": 16}),
        ("also=choice(16,32)", {"also": 16}),
        ("sizes=choice([256],[384],[384,384])", {"sizes": "[384]"}),
        ("name=choice(cls,mean)", {"name": "mean"}),
        ("name=choice(cls,max)", {}),
        ("flag=choice(true,false)", {"flag": True}),
        ("flag=choice(1,0)", {}),
        ("loss=choice(cross_entropy,focal)", {"loss": "focal"}),
        ("missing=choice(1,2)", {}),
        ("name=interval(0,1)", {}),
    ],
)
def test_the_value_that_is_configured(override, expected):
    assert configured(space_of({}, [override]), OmegaConf.create(CONFIG)) == expected


def study_of(folder):
    storage = open_storage(f"sqlite:///{folder / 'study.db'}", create=True)
    return optuna.create_study(study_name="s", storage=storage), storage


def queue(study, storage, space):
    values = configured(space, OmegaConf.create(CONFIG))
    drawn = [name for name in space.distributions if name not in values]
    queue_as_configured(study, storage, values, drawn)


def drawn(study, space):
    return study.ask(dict(space.distributions)).params


def test_a_study_starts_with_it_once(tmp_path):
    study, storage = study_of(tmp_path)
    space = space_of({}, ["lr=tag(log,interval(1e-5,1e-3))", "name=choice(cls,max)"])
    queue(study, storage, space)
    queue(study, storage, space)  # by another machine
    first, second = drawn(study, space), drawn(study, space)
    assert first["lr"] == 2e-4 != second["lr"]
    assert [trial.user_attrs.get("as_configured") for trial in study.trials] == [["name"], None]


def test_what_is_null_stays_null(tmp_path):
    config = OmegaConf.merge(OmegaConf.create(CONFIG), {"dropout": None})
    space = space_of({}, ["lr=tag(log,interval(1e-5,1e-3))", "dropout=interval(0,1)"])
    assert left_null(space, config) == ["dropout"]
    study, storage = study_of(tmp_path)
    queue_as_configured(study, storage, {"lr": 2e-4}, [], ["dropout"])
    assert study.ask().user_attrs["left_out"] == ["dropout"]
