from optuna.distributions import CategoricalDistribution, FloatDistribution

from bert_ft.search.results.range_edges import Edge, edges
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, log_of, new_study


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
