import sys

import optuna
import pytest
import yaml
from hydra.core.plugins import Plugins
from optuna.distributions import FloatDistribution, IntDistribution

from bert_ft.config.paths import conf_dir
from bert_ft.errors import ConfigError
from bert_ft.search.space.samplers import RoundedSampler, build_pruner, build_sampler, check_sampler, is_grid
from bert_ft.search.space.space import grid, space_of

SWEEPER = conf_dir() / "hydra" / "sweeper"


def node(path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", sorted((SWEEPER / "pruner").iterdir()), ids=lambda path: path.stem)
def test_each_shipped_pruner_can_be_built(path):
    settings = node(path)
    pruner = build_pruner(settings)
    assert type(pruner).__name__ == settings["_target_"].rpartition(".")[2]


def test_the_shipped_sampler_has_the_keys_of_the_plugins_and_optunas_good_defaults():
    Plugins.instance()
    from hydra_plugins.hydra_optuna_sweeper.config import TPESamplerConfig

    settings = node(SWEEPER / "sampler" / "tpe.yaml")
    assert TPESamplerConfig.__dataclass_fields__.keys() == settings.keys()
    sampler = build_sampler(settings, {})
    assert sampler._multivariate
    assert sampler._group
    assert sampler._constant_liar
    assert sampler._n_startup_trials == 10


def test_a_process_that_comes_later_draws_other_values():
    space = {"x": FloatDistribution(0, 1)}
    settings = {"_target_": "optuna.samplers.RandomSampler", "seed": 1}
    drawn = [
        optuna.create_study(sampler=build_sampler(settings, space, turn)).ask(space).params["x"]
        for turn in (0, 1, 2, 0)
    ]
    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]
    assert (
        drawn[0] == optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask(space).params["x"]
    )


def test_a_grid_gets_its_space_and_the_same_points_in_all_processes():
    settings = {"_target_": "optuna.samplers.GridSampler", "_partial_": True, "seed": 1}
    assert is_grid(settings)
    assert not is_grid({"_target_": "optuna.samplers.TPESampler"})
    space = {"x": IntDistribution(1, 9, step=2)}
    sampler = build_sampler(settings, space)
    assert isinstance(sampler, optuna.samplers.GridSampler)
    assert sampler._search_space == {"x": [1, 3, 5, 7, 9]}
    assert sampler._all_grids == build_sampler(settings, space, turn=1)._all_grids


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"_target_": "optuna.samplers.TPESampler", "n_startup": 1}, "n_startup"),
        ({"_target_": "os.system", "command": "true"}, "os.system"),
        ({"_target_": "optuna.pruners.NopPruner"}, "gives a NopPruner, not a sampler"),
    ],
)
def test_refused(settings, words):
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.sampler") as refusal:
        build_sampler(settings, {})
    assert words in str(refusal.value)


def test_values_in_steps_are_as_one_writes_them():
    space = {"x": FloatDistribution(0.0, 0.9, step=0.1), "y": FloatDistribution(0, 1)}
    settings = node(SWEEPER / "sampler" / "tpe.yaml") | {"n_startup_trials": 5, "seed": 0}
    study = optuna.create_study(sampler=RoundedSampler(build_sampler(settings, space)))
    for _ in range(30):
        trial = study.ask(space)
        study.tell(trial, trial.params["x"] + trial.params["y"])
    drawn = {trial.params["x"] for trial in study.trials}
    assert drawn <= {number / 10 for number in range(10)}
    assert len(drawn) > 4
    assert any(len(str(trial.params["y"])) > 12 for trial in study.trials)


def test_what_a_sampler_lacks_is_found_at_the_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    with pytest.raises(ConfigError, match=r"CmaEsSampler: .*cmaes.*; pip install cmaes$"):
        check_sampler({"_target_": "optuna.samplers.CmaEsSampler"}, space, ["maximize"])
    check_sampler(node(SWEEPER / "sampler" / "tpe.yaml"), space, ["maximize", "minimize"])
    with pytest.raises(
        ConfigError, match=r"^hydra\.sweeper\.sampler\._target_=.*TPESampler: "
    ):  # not a TypeError
        check_sampler(
            node(SWEEPER / "sampler" / "tpe.yaml") | {"n_startup_trials": "few"}, space, ["maximize"]
        )


def test_a_grid_that_is_too_large_is_refused_without_listing_it():
    for words in (["seed=range(0,1000000000)"], [f"k{number}=range(0,100)" for number in range(3)]):
        with pytest.raises(ConfigError, match="give "):
            grid(space_of({}, words).distributions)
