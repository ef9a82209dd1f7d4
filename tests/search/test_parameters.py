import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.search.edges import Edge, edges
from bert_ft.search.parameters import parameters
from bert_ft.search.study_log import read_study
from tests.search.studies import add, new_study


def log_of(name, distribution, values, results=None):
    study = new_study()
    for place, value in enumerate(values):
        result = results[place] if results else -place
        add(study, "complete", result, {name: value}, space={name: distribution})
    return read_study(study)


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


def test_the_best_trial_at_the_upper_end_is_reported():
    log = log_of("lr", FloatDistribution(1e-5, 1e-3, log=True), [9e-4, 1e-4, 5e-5, 2e-5])
    assert edges(log) == [Edge("lr", True, "0.001", 1, 3, "0.0009")]


def test_half_of_the_best_at_an_end_are_reported_though_the_best_one_is_not():
    log = log_of("lr", FloatDistribution(1e-5, 1e-3, log=True), [1e-4, 1.1e-5, 1e-5, 1e-3])
    assert edges(log) == [Edge("lr", False, "1e-05", 2, 3, "0.0001")]


def test_a_logarithmic_range_has_its_edge_by_ratio():
    # a twentieth of two decades is a factor of 1.26: 1.2e-5 is at the edge, 1.3e-5 is not
    range_ = FloatDistribution(1e-5, 1e-3, log=True)
    assert [bool(edges(log_of("lr", range_, [value]))) for value in (1.2e-5, 1.3e-5)] == [True, False]
    assert [bool(edges(log_of("x", FloatDistribution(0, 1), [value]))) for value in (0.95, 0.94)] == [
        True,
        False,
    ]


def test_choices_have_an_edge_if_they_are_three_numbers():
    assert edges(log_of("batch", CategoricalDistribution([8, 16, 32]), [32, 16, 16])) == [
        Edge("batch", True, "32", 1, 3, "32")
    ]
    assert edges(log_of("batch", CategoricalDistribution([8, 16]), [16])) == []
    assert edges(log_of("pooling", CategoricalDistribution(["cls", "mean", "max"]), ["max"])) == []


def test_good_values_in_the_middle_are_no_news():
    assert edges(log_of("x", FloatDistribution(0, 1), [0.5, 0.4, 0.6, 0.0, 1.0])) == []
    assert edges(read_study(new_study())) == []


def test_a_tenth_of_many_trials_are_the_best_ones():
    values = [0.5] * 5 + [0.99] * 3 + [0.5] * 72  # of 80 the best 8: 3 at the edge are fewer than half
    assert edges(log_of("x", FloatDistribution(0, 1), values)) == []
    values = [0.5] * 4 + [0.99] * 4 + [0.5] * 72
    assert [edge.num_there for edge in edges(log_of("x", FloatDistribution(0, 1), values))] == [4]


def test_a_conditional_parameter_counts_where_it_is():
    study = new_study()
    space = {"gamma": FloatDistribution(0, 1)}
    add(study, value=3)
    add(study, value=2, params={"gamma": 0.0}, space=space)
    add(study, value=1, params={"gamma": 0.5}, space=space)
    assert edges(read_study(study)) == [Edge("gamma", False, "0", 1, 2, "0")]
