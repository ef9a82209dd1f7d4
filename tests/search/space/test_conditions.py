"""Which parameters a trial has, by this project's own configuration."""

import hydra
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from bert_ft.config.paths import conf_dir
from bert_ft.search.space.conditions import Conditions

RANGE = FloatDistribution(0.0, 1.0)


class Composed:
    """Hydra's composition, counted."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, overrides: list[str]):
        self.asked.append(overrides)
        return hydra.compose("train", overrides, return_hydra_config=True)


@pytest.fixture(autouse=True)
def composing():
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        yield


def conditions(space, *fixed, **settings) -> Conditions:
    ranges = {
        name: CategoricalDistribution(each) if isinstance(each, list) else each
        for name, each in space.items()
    }
    return Conditions(Composed(), list(fixed), ranges, **settings)


@pytest.fixture
def two_losses(monkeypatch):
    """Instead of all choices of a group, which take time to compose."""
    choices = {"loss": ["cross_entropy", "focal"]}
    monkeypatch.setattr("bert_ft.search.space.conditions.group_options", lambda group: choices.get(group, []))


def drawn_in(found: Conditions, **values) -> list[list[str]]:
    """What is drawn, step by step; ``values`` instead of 0.5."""
    steps, drawn = [], {}
    while names := found.next(drawn):
        steps.append(names)
        drawn |= {name: values.get(name, 0.5) for name in names}
    return steps


def test_a_space_without_conditions_is_drawn_at_once():
    found = conditions(
        {"optimizer.lr": RANGE, "data.batch_size": [8, 16], "+trainer.benchmark": [True, False]}
    )
    assert drawn_in(found) == [["optimizer.lr", "data.batch_size", "+trainer.benchmark"]]
    assert (found.problems(), found.left_out()) == ([], [])
    assert len(found._compose.asked) == 1


def test_a_parameter_is_drawn_where_the_chosen_group_has_its_key():
    found = conditions({"loss.gamma": RANGE, "loss": ["focal", "cross_entropy"], "optimizer.lr": RANGE})
    assert drawn_in(found, loss="focal") == [["loss"], ["loss.gamma", "optimizer.lr"]]
    assert drawn_in(found, loss="cross_entropy") == [["loss"], ["optimizer.lr"]]
    assert (found.problems(), found.left_out()) == ([], [])
    assert found._compose.asked == [[], ["loss=focal"], ["loss=cross_entropy"]]  # each once


def test_what_is_fixed_counts():
    space = {"loss.gamma": RANGE, "model.pooling": ["cls", "mean"]}
    assert drawn_in(conditions(space, "loss=focal")) == [["loss.gamma", "model.pooling"]]
    assert drawn_in(conditions(space, "loss=focal", "model=bert_linear")) == [["loss.gamma"]]


def test_a_parameter_of_another_choice_is_left_out_of_a_file():
    found = conditions({"loss.gamma": RANGE, "optimizer.lr": RANGE})  # asks Hydra for all choices of `loss`
    assert (found.left_out(), found.problems()) == (["loss.gamma"], [])


def test_a_parameter_of_another_choice_is_a_mistake_on_the_command_line(two_losses):
    (problem,) = conditions({"loss.gamma": RANGE, "optimizer.lr": RANGE}, typed=["loss.gamma"]).problems()
    assert problem == "loss.gamma: is in the search space, but exists only with loss=focal; add one of them"


def test_an_unknown_key_is_a_mistake_anywhere(two_losses):
    (problem,) = conditions({"optimizer.lrr": RANGE}).problems()
    assert problem == (
        "optimizer.lrr: is in the search space, but there is no key optimizer.lrr; did you mean optimizer.lr?"
    )
    (problem,) = conditions({"quite.different": RANGE}).problems()
    assert problem.endswith("no key quite.different; --cfg job lists the keys")
    (problem,) = conditions({"loss.gama": RANGE, "loss": ["focal", "r_drop"]}).problems()
    assert "there is no key loss.gama" in problem


WEIGHT, TEMPERATURE = "loss.contrastive_weight", "loss.contrastive_temperature"


SPACE = {TEMPERATURE: RANGE, WEIGHT: [0.0, 0.5]}
NULL = {TEMPERATURE: RANGE, WEIGHT: ["null", "0.5"]}
OWN = {WEIGHT: [WEIGHT], TEMPERATURE: WEIGHT}


@pytest.mark.parametrize(
    ("space", "fixed", "needed", "value", "expected"),
    [
        (SPACE, [], {TEMPERATURE: WEIGHT}, 0.5, [[WEIGHT], [TEMPERATURE]]),
        (SPACE, [], {TEMPERATURE: WEIGHT}, 0.0, [[WEIGHT]]),
        (NULL, [], {TEMPERATURE: WEIGHT}, "null", [[WEIGHT]]),  # drawn as it is written
        (NULL, [], {TEMPERATURE: WEIGHT}, "0.5", [[WEIGHT], [TEMPERATURE]]),
        # the value is configured
        ({TEMPERATURE: RANGE}, ["loss=cross_entropy"], {TEMPERATURE: [WEIGHT]}, None, []),
        (
            {TEMPERATURE: RANGE},
            ["loss=supervised_contrastive"],
            {TEMPERATURE: [WEIGHT]},
            None,
            [[TEMPERATURE]],
        ),
        # a parameter depends on its own configured value
        (SPACE, [], OWN, 0.5, []),
        (SPACE, ["loss=supervised_contrastive"], OWN, 0.5, [[WEIGHT], [TEMPERATURE]]),
    ],
)
def test_a_parameter_that_depends_on_another(space, fixed, needed, value, expected):
    found = conditions(space, *fixed, conditions=needed)
    assert drawn_in(found, **{WEIGHT: value}) == expected
    assert found.problems() == []


def test_a_table_for_parameters_that_are_not_searched_is_no_fault():
    found = conditions({"optimizer.lr": RANGE}, conditions={TEMPERATURE: WEIGHT, "of.another": "space"})
    assert (drawn_in(found), found.problems()) == ([["optimizer.lr"]], [])


def test_faults_of_the_table(two_losses):
    wrong = "loss.contrastive_wight"
    (problem,) = conditions({TEMPERATURE: RANGE}, conditions={TEMPERATURE: wrong}).problems()
    assert problem == (
        f"hydra.sweeper.conditions.{TEMPERATURE}={wrong}: there is no key {wrong}; did you mean {WEIGHT}?"
    )
    circle = {TEMPERATURE: WEIGHT, WEIGHT: TEMPERATURE}
    (problem,) = conditions({TEMPERATURE: RANGE, WEIGHT: RANGE}, conditions=circle).problems()
    assert problem.startswith("hydra.sweeper.conditions: is circular: ")
    assert problem.count(TEMPERATURE) + problem.count(WEIGHT) == 3
