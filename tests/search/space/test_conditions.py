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


def two_losses(group: str) -> list[str]:
    """Instead of all choices of a group, which take their time to be composed."""
    return ["cross_entropy", "focal"] if group == "loss" else []


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


def test_each_choice_is_composed_once():
    found = conditions({"loss.gamma": RANGE, "loss": ["focal", "cross_entropy"]}, "seed=1")
    for _ in range(3):
        drawn_in(found, loss="focal")
    found.problems()
    assert found._compose.asked == [["seed=1"], ["seed=1", "loss=focal"]]


def test_what_is_fixed_counts():
    space = {"loss.gamma": RANGE, "model.pooling": ["cls", "mean"]}
    assert drawn_in(conditions(space, "loss=focal")) == [["loss.gamma", "model.pooling"]]
    assert drawn_in(conditions(space, "loss=focal", "model=bert_linear")) == [["loss.gamma"]]


def test_a_parameter_of_another_choice_is_left_out_of_a_file_and_a_mistake_on_the_command_line():
    space = {"loss.gamma": RANGE, "optimizer.lr": RANGE}
    in_file = conditions(space)  # asks Hydra for all choices of `loss`
    assert (in_file.left_out(), in_file.problems()) == (["loss.gamma"], [])
    (problem,) = conditions(space, typed=["loss.gamma"], options=two_losses).problems()
    assert (
        problem
        == "loss.gamma: to be searched, but no trial has it; it belongs to loss=focal; add one of them"
    )


def test_an_unknown_key_is_a_mistake_anywhere():
    (problem,) = conditions({"optimizer.lrr": RANGE}, options=two_losses).problems()
    assert (
        problem
        == "optimizer.lrr: to be searched, but there is no key optimizer.lrr; did you mean optimizer.lr?"
    )
    (problem,) = conditions({"quite.different": RANGE}).problems()
    assert problem.endswith("no key quite.different; --cfg job lists the keys")
    (problem,) = conditions({"loss.gama": RANGE, "loss": ["focal", "r_drop"]}).problems()
    assert "there is no key loss.gama" in problem


WEIGHT, TEMPERATURE = "loss.contrastive_weight", "loss.contrastive_temperature"


def test_a_parameter_that_goes_with_a_drawn_one():
    found = conditions({TEMPERATURE: RANGE, WEIGHT: [0.0, 0.5]}, conditions={TEMPERATURE: WEIGHT})
    assert drawn_in(found) == [[WEIGHT], [TEMPERATURE]]
    assert drawn_in(found, **{WEIGHT: 0.0}) == [[WEIGHT]]
    assert found.problems() == []


def test_a_null_is_drawn_as_it_is_written():
    found = conditions({TEMPERATURE: RANGE, WEIGHT: ["null", "0.5"]}, conditions={TEMPERATURE: WEIGHT})
    assert drawn_in(found, **{WEIGHT: "null"}) == [[WEIGHT]]
    assert drawn_in(found, **{WEIGHT: "0.5"}) == [[WEIGHT], [TEMPERATURE]]


def test_a_parameter_that_goes_with_a_configured_one():
    for fixed, expected in (("loss=cross_entropy", []), ("loss=supervised_contrastive", [[TEMPERATURE]])):
        assert (
            drawn_in(conditions({TEMPERATURE: RANGE}, fixed, conditions={TEMPERATURE: [WEIGHT]})) == expected
        )


def test_a_parameter_that_goes_with_its_own_configured_value():
    own = {WEIGHT: [WEIGHT], TEMPERATURE: WEIGHT}
    space = {TEMPERATURE: RANGE, WEIGHT: RANGE}
    assert drawn_in(conditions(space, conditions=own)) == []
    assert drawn_in(conditions(space, "loss=supervised_contrastive", conditions=own)) == [
        [WEIGHT],
        [TEMPERATURE],
    ]


def test_a_table_for_parameters_that_are_not_searched_is_no_fault():
    found = conditions({"optimizer.lr": RANGE}, conditions={TEMPERATURE: WEIGHT, "of.another": "space"})
    assert (drawn_in(found), found.problems()) == ([["optimizer.lr"]], [])


def test_faults_of_the_table():
    (problem,) = conditions(
        {TEMPERATURE: RANGE}, conditions={TEMPERATURE: "loss.contrastive_wight"}, options=two_losses
    ).problems()
    assert problem == (
        f"hydra.sweeper.conditions.{TEMPERATURE}=loss.contrastive_wight: there is no key loss.contrastive_wight; "
        "did you mean loss.contrastive_weight?"
    )
    circle = conditions(
        {TEMPERATURE: RANGE, WEIGHT: RANGE}, conditions={TEMPERATURE: WEIGHT, WEIGHT: TEMPERATURE}
    )
    assert [problem.endswith("goes round in a circle") for problem in circle.problems()] == [True, True]
