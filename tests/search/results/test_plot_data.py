import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from bert_ft.drawing.trials import Scale
from bert_ft.drawing.worker_timeline import Bar
from bert_ft.search.results import plot_data
from bert_ft.search.results.importance import Importances
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, at, new_study

SPACE = {
    "lr": FloatDistribution(1e-4, 1e-2, log=True),
    "gamma": FloatDistribution(0.0, 4.0),
    "size": CategoricalDistribution([32, 8]),
    "same": FloatDistribution(0.0, 1.0),
}


@pytest.fixture
def log():
    study = new_study(["minimize"])
    same = {"size": 8, "same": 0.5}
    large = {"size": 32, "same": 0.5}
    for state, value, params, reported in (
        ("complete", 0.5, {"lr": 1e-3} | same, {10: 0.9, 20: 0.5}),
        ("pruned", None, {"lr": 1e-2} | same, {10: 2.0}),
        ("complete", 0.3, {"lr": 1e-4, "gamma": 1.0} | large, {10: 0.3}),
        ("failed", None, {"lr": 1e-4, "size": 32}, {}),
        ("complete", 0.4, {"lr": 1e-2, "gamma": 3.0} | large, {}),
    ):
        add(study, state, value, params, space=SPACE, reported=reported)
    return read_study(study)


def shown(log):
    """The parameters in the order of the space."""
    found = {each.name: each for each in plot_data.shown_parameters(log, None)}
    return [found[name] for name in ("lr", "size", "gamma")]


def test_history(log):
    found = plot_data.history(log, 0)
    assert found.complete == [(0, 0.5), (2, 0.3), (4, 0.4)]
    assert found.best == [(0, 0.5), (2, 0.3), (4, 0.3)]
    assert found.pruned == [(1, 2.0)]
    assert found.failed == [3]
    # by the complete trials only: the pruned one is drawn at the border
    assert found.limits == pytest.approx((0.3 - 0.024, 0.5 + 0.024))
    assert plot_data.outside([2.0, 0.4], found.limits) == 1


def test_history_of_one_of_two_objectives():
    study = new_study(["maximize", "minimize"])
    for values in ((1, 5), (2, 4), (0, 9)):
        add(study, "complete", values)
    found = plot_data.history(read_study(study), 1)
    assert found.complete == [(0, 5.0), (1, 4.0), (2, 9.0)]
    assert found.best == [(0, 5.0), (1, 4.0), (2, 4.0)]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_diverged_value_does_not_press_the_others_together(sign):
    values = [sign * value for value in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 100.0)]
    low, high = sorted(sign * limit for limit in plot_data.core_limits(values, maximize=sign < 0))
    assert low == pytest.approx(1.0 - 0.15 * 0.5)  # of the spread of the better three quarters, 1.0 to 1.5
    assert high == pytest.approx(1.5 + 0.5 * 0.5)
    assert plot_data.core_limits(values[:7], maximize=sign < 0) is None  # too few
    at_most = [*values[:7], sign * 3.0]  # four times the spread
    assert plot_data.core_limits(at_most, maximize=sign < 0) is None
    assert plot_data.core_limits([1.0] * 8, maximize=True) is None


def test_a_value_that_is_better_than_all_others_is_always_shown():
    values = [*np.linspace(1, 1.1, 20), -50.0]
    limits = plot_data.core_limits(values, maximize=False)
    assert limits is None or limits[0] < -50


@pytest.mark.parametrize(
    ("importances", "expected"),
    [
        (
            Importances(0, {"size": 0.9, "lr": 0.1}, {"gamma": 0.6, "size": 0.3, "lr": 0.1}),
            ["gamma", "size", "lr"],
        ),
        (Importances(0, {"size": 0.9, "lr": 0.1}), ["size", "lr", "gamma"]),
        (None, ["lr", "size", "gamma"]),
    ],
)
def test_parameters_that_vary_are_shown_by_importance(log, importances, expected):
    assert [each.name for each in plot_data.shown_parameters(log, importances)] == expected


def test_slices(log):
    lr, size, gamma = plot_data.slices(log, shown(log), 0)
    assert lr.scale == Scale("lr", 1e-4, 1e-2, is_log=True)
    assert size.scale == Scale("size", 0, 1, choices=("8", "32"))
    assert (lr.numbers.tolist(), lr.values.tolist()) == ([2, 4, 0], [0.3, 0.4, 0.5])
    assert (lr.places.tolist(), size.places.tolist()) == ([1e-4, 1e-2, 1e-3], [1, 1, 0])
    assert (gamma.numbers.tolist(), gamma.places.tolist()) == ([2, 4], [1.0, 3.0])


def test_ranks_and_places(log):
    assert plot_data.relative_ranks(log).tolist() == [0.0, 0.5, 1.0]
    places = plot_data.places_of(log, shown(log))
    np.testing.assert_array_equal(places, [[1e-4, 1, 1.0], [1e-2, 1, 3.0], [1e-3, 0, np.nan]])


def test_equal_values_have_the_same_rank():
    study = new_study()
    for value in (1, 3, 3, 2):
        add(study, "complete", value)
    assert plot_data.relative_ranks(read_study(study)).tolist() == pytest.approx([0, 0, 2 / 3, 1])


def test_coordinates(log):
    lr, size, gamma, value = plot_data.coordinates(log, shown(log))
    np.testing.assert_allclose(lr.shares, [0, 1, 0.5], atol=1e-12)
    assert lr.labels == {0.0: "0.0001", 0.5: "0.001", 1.0: "0.01"}
    assert (size.shares.tolist(), size.labels) == ([1, 1, 0], {0.0: "8", 1.0: "32"})
    np.testing.assert_allclose(gamma.shares, [0.25, 0.75, np.nan])
    assert value.name == "value"
    np.testing.assert_allclose(value.shares, [0, 0.5, 1], atol=1e-12)
    assert value.labels == {0.0: "0.3", 1.0: "0.5"}


def test_curves(log):
    complete, pruned, best = plot_data.curves(log)
    assert (complete.state, complete.steps.tolist(), complete.values.tolist()) == (
        "complete",
        [10, 20],
        [0.9, 0.5],
    )
    assert (pruned.state, pruned.values.tolist(), pruned.is_best) == ("pruned", [2.0], False)
    assert best.is_best


def test_timeline():
    study = new_study()
    add(study, value=1, span=(5, 15), worker=1)
    add(study, "pruned", span=(6, 8), worker=0)
    add(study, "running", span=(20, None), worker=0)
    bars, lanes = plot_data.timeline(read_study(study, now=at(30)))
    assert lanes == ["0", "1"]
    assert bars == [
        Bar(lane=1, start=0, seconds=10, state="complete", number=0),
        Bar(lane=0, start=1, seconds=2, state="pruned", number=1),
        Bar(lane=0, start=15, seconds=10, state="running", number=2),
    ]


def test_fronts_of_three_objectives_are_in_pairs():
    study = new_study(["maximize", "minimize", "maximize"])
    for values in ((1, 5, 0), (2, 4, 1), (0, 9, 3)):
        add(study, "complete", values)
    found = plot_data.fronts(read_study(study))
    assert [(pair.x, pair.y) for pair in found] == [
        ("value 0 (higher is better)", "value 1 (lower is better)"),
        ("value 0 (higher is better)", "value 2 (higher is better)"),
        ("value 1 (lower is better)", "value 2 (higher is better)"),
    ]
    assert found[2].values.tolist() == [[4, 1], [9, 3], [5, 0]]
    assert found[2].numbers.tolist() == [1, 2, 0]
    assert found[2].is_front.tolist() == [True, True, False]
