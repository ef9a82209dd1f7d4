import random

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from bert_ft.search.results.range_edges import Edge, edges
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, log_of, new_study

LOG = FloatDistribution(1e-5, 1e-3, log=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([9e-4, 1e-4, 5e-5, 2e-5], []),  # one of three is chance
        ([1e-4, 1.1e-5, 1e-5, 1e-3], [Edge("lr", False, "1e-05", 2, 3, "0.0001")]),
        # a twentieth of two decades is a factor of 1.26
        ([1.2e-5] * 2, [Edge("lr", False, "1e-05", 2, 2, "1.2e-05")]),
        ([1.3e-5] * 2, []),
    ],
)
def test_a_logarithmic_range_has_its_edge_by_ratio(values, expected):
    assert edges(log_of("lr", LOG, values)) == expected


@pytest.mark.parametrize(
    ("values", "num_there"),
    [
        ([0.95], []),  # p = 0.05, above 0.05 / 2 ends
        ([0.95, 0.95], [2]),
        ([0.94, 0.94], []),
        ([0.5, 0.4, 0.6, 0.0, 1.0], []),
        # of 80 the best 8: by the binomial distribution 2 there have p = 0.057, 3 have 0.0058
        ([0.5] * 6 + [0.99] * 2 + [0.5] * 72, []),
        ([0.5] * 5 + [0.99] * 3 + [0.5] * 72, [3]),
    ],
)
def test_a_linear_range(values, num_there):
    assert [edge.num_there for edge in edges(log_of("x", FloatDistribution(0, 1), values))] == num_there


def test_choices_have_an_edge_if_they_are_three_numbers():
    batch = CategoricalDistribution([8, 16, 32, 64])
    assert edges(log_of("batch", batch, [64, 64, 64])) == [Edge("batch", True, "64", 3, 3, "64")]
    assert edges(log_of("batch", batch, [64, 64, 16])) == []  # p = 0.16
    assert edges(log_of("batch", CategoricalDistribution([8, 16]), [16] * 9)) == []
    assert edges(log_of("pooling", CategoricalDistribution(["cls", "mean", "max"]), ["max"] * 9)) == []


def test_random_searches_rarely_have_an_edge():
    """A choice of 4 is at an end half of the time."""
    space = {f"p{place}": CategoricalDistribution([8, 16, 32, 64]) for place in range(8)}
    rng, found = random.Random(0), 0
    for _ in range(40):
        study = new_study()
        for _ in range(40):
            add(
                study,
                value=rng.random(),
                params={name: rng.choice([8, 16, 32, 64]) for name in space},
                space=space,
            )
        found += bool(edges(read_study(study)))
    assert found <= 5


def test_a_conditional_parameter_counts_where_it_is():
    study = new_study()
    space = {"gamma": FloatDistribution(0, 1)}
    add(study, value=3)
    add(study, value=2, params={"gamma": 0.0}, space=space)
    add(study, value=1, params={"gamma": 0.5}, space=space)
    assert edges(read_study(study)) == []  # one of the two that have it is chance
    add(study, value=2.5, params={"gamma": 0.0}, space=space)
    assert edges(read_study(study)) == [Edge("gamma", False, "0", 2, 2, "0")]
