import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from bert_ft.search.results.range_edges import Edge, edges
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, log_of, new_study

LOG = FloatDistribution(1e-5, 1e-3, log=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([9e-4, 1e-4, 5e-5, 2e-5], [Edge("lr", True, "0.001", 1, 3, "0.0009")]),  # the best one
        ([1e-4, 1.1e-5, 1e-5, 1e-3], [Edge("lr", False, "1e-05", 2, 3, "0.0001")]),  # two of the best three
        # a twentieth of two decades is a factor of 1.26
        ([1.2e-5], [Edge("lr", False, "1e-05", 1, 1, "1.2e-05")]),
        ([1.3e-5], []),
    ],
)
def test_a_logarithmic_range_has_its_edge_by_ratio(values, expected):
    assert edges(log_of("lr", LOG, values)) == expected


@pytest.mark.parametrize(
    ("values", "num_there"),
    [
        ([0.95], [1]),
        ([0.94], []),
        ([0.5, 0.4, 0.6, 0.0, 1.0], []),
        # of 80 the best 8: 3 at the edge are fewer than half
        ([0.5] * 5 + [0.99] * 3 + [0.5] * 72, []),
        ([0.5] * 4 + [0.99] * 4 + [0.5] * 72, [4]),
    ],
)
def test_a_linear_range(values, num_there):
    assert [edge.num_there for edge in edges(log_of("x", FloatDistribution(0, 1), values))] == num_there


def test_choices_have_an_edge_if_they_are_three_numbers():
    assert edges(log_of("batch", CategoricalDistribution([8, 16, 32]), [32, 16, 16])) == [
        Edge("batch", True, "32", 1, 3, "32")
    ]
    assert edges(log_of("batch", CategoricalDistribution([8, 16]), [16])) == []
    assert edges(log_of("pooling", CategoricalDistribution(["cls", "mean", "max"]), ["max"])) == []


def test_a_conditional_parameter_counts_where_it_is():
    study = new_study()
    space = {"gamma": FloatDistribution(0, 1)}
    add(study, value=3)
    add(study, value=2, params={"gamma": 0.0}, space=space)
    add(study, value=1, params={"gamma": 0.5}, space=space)
    assert edges(read_study(study)) == [Edge("gamma", False, "0", 1, 2, "0")]
