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
    single = only("point", FloatDistribution(0.1, 0.1), [0.1])
    assert (single.share(0.1), single.num_values) == (0.5, 1)


@pytest.mark.parametrize(
    ("choices", "expected", "is_ordered"),
    [
        ([64, 8, 16.5], ["8", "16.5", "64"], True),
        (["mean", "cls"], ["mean", "cls"], False),
        ([True, False], ["True", "False"], False),
        ([1, None], ["1", "None"], False),
        (["[384]", "[768,384]"], ["[384]", "[768,384]"], False),
    ],
)
def test_choices(choices, expected, is_ordered):
    parameter = only("name", CategoricalDistribution(choices), [choices[1]])
    assert (parameter.choices, parameter.is_ordered) == (expected, is_ordered)
    assert [parameter.place(choice) for choice in choices] == ([2, 0, 1] if is_ordered else [0, 1])


def test_values_of_an_earlier_and_wider_range_still_have_a_place():
    study = new_study()
    add(study, value=1, params={"x": 0.9}, space={"x": FloatDistribution(0.0, 1.0)})
    add(study, value=1, params={"x": 0.4}, space={"x": FloatDistribution(0.0, 0.5)})
    (parameter,) = parameters(read_study(study))
    assert (parameter.low, parameter.high) == (0.0, 0.9)
