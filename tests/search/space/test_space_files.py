"""The search spaces under conf/search: what the mission asks to be searched, on the scales that it asks for."""

import hydra
import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution

from bert_ft.compat.optuna_sweeper import params_of
from bert_ft.config.check import problems
from bert_ft.config.paths import conf_dir
from bert_ft.search.space.conditions import Conditions

RATES = {"optimizer.lr", "optimizer.weight_decay"}
LOGARITHMIC = RATES | {"optimizer.head_lr"} | {f"pretrain.{name}" for name in RATES}
IN_STEPS = {
    "model.head.dropout": (0.0, 0.5),
    "encoder.hidden_dropout": (0.0, 0.2),
    "encoder.attention_dropout": (0.05, 0.2),
    "schedule.warmup_ratio": (0.0, 0.3),
    "loss.label_smoothing": (0.0, 0.2),
    "averaging.start_ratio": (0.0, 0.7),
    "pretrain.masking.mlm_probability": (0.1, 0.4),
    "pretrain.schedule.warmup_ratio": (0.0, 0.2),
}
CHOICES = {"data.batch_size", "model.head.hidden_sizes", "model.pooling", "optimizer.layer_decay"}
CHOICES |= {"weight_decay_schedule", "averaging", "averaging.decay"}
CHOICES |= {"loss.contrastive_weight", "loss.contrastive_temperature"}
CHOICES |= {f"pretrain.{name}" for name in ("batch_size", "temperature", "contrastive_weight")}


def content(name: str):
    return OmegaConf.to_container(OmegaConf.load(conf_dir() / f"search/{name}.yaml"))


def distributions(*names: str):
    params = {key: text for name in names for key, text in content(name)["params"].items()}
    return params_of([f"{key}={text}" for key, text in params.items()])[0]


def test_the_whole_space():
    found = distributions("default", "_pretraining")
    assert set(found) == LOGARITHMIC | set(IN_STEPS) | CHOICES
    for name in LOGARITHMIC:
        assert isinstance(found[name], FloatDistribution)
        assert found[name].log
    for name, ends in IN_STEPS.items():
        assert isinstance(found[name], FloatDistribution)
        assert (found[name].low, found[name].high) == pytest.approx(ends)
        assert found[name].step == pytest.approx(0.1 if name == "averaging.start_ratio" else 0.05)
    for name in CHOICES:
        assert isinstance(found[name], CategoricalDistribution)
    widths = found["model.head.hidden_sizes"].choices
    assert {text.count(",") for text in widths} == {0, 1}  # one block and two: widths and depth


def test_the_small_space_is_part_of_the_question():
    small, whole = distributions("small"), distributions("default")
    assert set(small) < set(whole)
    assert content("small")["n_trials"] < 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "small"])
def test_every_parameter_is_a_key_and_each_of_its_values_is_allowed(name):
    found = distributions(name, *(["_pretraining"] if name == "default" else []))
    stage = ["pretrain=mlm_contrastive"]
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):

        def compose(overrides):
            return hydra.compose("train", overrides, return_hydra_config=True)

        needed = content(name).get("conditions", {})
        conditions = Conditions(compose, stage, found, conditions=needed)
        assert conditions.problems() == []
        assert conditions.left_out() == []
        assert all({key, other} <= set(found) for key, other in needed.items())
        for position in range(5):
            drawn: dict = {}
            while names := conditions.next(drawn):
                for key in names:
                    values = values_of(found[key])
                    drawn[key] = values[min(position, len(values) - 1)]
            assert ("averaging.decay" in drawn) == (drawn.get("averaging") == "ema")
            assert problems(compose([*stage, *(f"{key}={value}" for key, value in drawn.items())])) == []


def values_of(distribution):
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return (distribution.low, distribution.high)


@pytest.mark.parametrize(
    ("overrides", "name"), [([], "default"), (["search=small"], "small"), (["search=none"], "none")]
)
def test_the_sweeper_gets_the_space(overrides, name):
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        config = hydra.compose("train", ["hydra/sweeper=optuna", *overrides], return_hydra_config=True)
    included = content(name).get("defaults", ["_self_"])
    files = [content(name if each == "_self_" else each) for each in included]
    assert config.hydra.sweeper.params == {
        key: text for file in files for key, text in file["params"].items()
    }
    expected = {key: other for file in files for key, other in file.get("conditions", {}).items()}
    assert config.hydra.sweeper.conditions == expected
    assert config.hydra.sweeper.n_trials == (20 if name == "small" else 100)
    assert config.hydra.sweeper.n_jobs == 1


def test_no_other_sweeper_gets_it():
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        config = hydra.compose("train", [], return_hydra_config=True)
    assert not config.hydra.sweeper.params
