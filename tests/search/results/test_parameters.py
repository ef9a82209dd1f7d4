import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.search.results.parameters import parameters
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, log_of, new_study


def only(name, distribution, values):
    (parameter,) = parameters(log_of(name, distribution, values))
    return parameter


def test_a_logarithmic_range():
    parameter = only("lr", FloatDistribution(1e-5, 1e-1, log=True), [1e-3])
    assert (parameter.is_log, parameter.choices) == (True, [])
    assert parameter.share(1e-3) == pytest.approx(0.5)
    assert parameter.place(1e-3) == 1e-3
    assert parameter.num_values == math.inf


def test_even_steps():
    parameter = only("dropout", FloatDistribution(0.0, 0.5, step=0.1), [0.2])
    assert parameter.num_values == 6
    assert parameter.share(0.2) == pytest.approx(0.4)
    assert only("layers", IntDistribution(2, 8, step=2), [4]).num_values == 4


def test_choices_of_numbers_stand_in_their_order():
    parameter = only("batch", CategoricalDistribution([64, 8, 16.5]), [16.5])
    assert parameter.choices == ["8", "16.5", "64"]
    assert parameter.is_ordered
    assert (parameter.place(8), parameter.place(64)) == (0, 2)


@pytest.mark.parametrize("choices", [["mean", "cls"], [True, False], [1, None]])
def test_other_choices_stand_as_they_were_given(choices):
    parameter = only("pooling", CategoricalDistribution(choices), [choices[1]])
    assert parameter.choices == [str(choice) for choice in choices]
    assert not parameter.is_ordered


def test_choices_that_are_lists():
    parameter = only("sizes", CategoricalDistribution(["[384]", "[768,384]"]), ["[768,384]"])
    assert parameter.place("[768,384]") == 1


def test_a_range_of_one_value():
    parameter = only("point", FloatDistribution(0.1, 0.1), [0.1])
    assert (parameter.share(0.1), parameter.num_values) == (0.5, 1)


def test_values_of_an_earlier_and_wider_range_still_have_a_place():
    study = new_study()
    add(study, value=1, params={"x": 0.9}, space={"x": FloatDistribution(0.0, 1.0)})
    add(study, value=1, params={"x": 0.4}, space={"x": FloatDistribution(0.0, 0.5)})
    (parameter,) = parameters(read_study(study))
    assert (parameter.low, parameter.high) == (0.0, 0.9)
