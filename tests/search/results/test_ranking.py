import pytest
from optuna.study._multi_objective import _get_pareto_front_trials

from bert_ft.search.results.ranking import front, ranked
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, new_study, searched


def numbers(trials) -> list[int]:
    return [trial.number for trial in trials]


@pytest.mark.parametrize(("direction", "expected"), [("maximize", [1, 3, 0, 4]), ("minimize", [4, 0, 1, 3])])
def test_of_equal_values_the_earlier_comes_first(direction, expected):
    study = new_study([direction])
    for value in (2, 3, None, 3, 1):
        add(study, "failed" if value is None else "complete", value)
    log = read_study(study)
    assert numbers(ranked(log)) == expected
    assert ranked(log)[0].number == study.best_trial.number
    assert numbers(front(log)) == expected[:1]


def test_what_is_not_finite_has_no_rank():
    study = new_study(["minimize"])
    for value in (float("inf"), 1.0, float("-inf")):
        add(study, "complete", value)
    assert numbers(ranked(read_study(study))) == [1]


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_front_is_optunas(objectives):
    study = searched(60, objectives=objectives, seed=3)
    expected = {trial.number for trial in _get_pareto_front_trials(study)}
    log = read_study(study)
    assert {trial.number for trial in front(log)} == expected
    assert {trial.number for trial in ranked(log)[: len(expected)]} == expected
    assert len(ranked(log)) == len(log.complete)


def test_the_second_front_comes_after_the_first():
    study = new_study(["maximize", "minimize"])
    for values in ((1, 5), (2, 4), (3, 1), (3, 1), (0, 9)):
        add(study, "complete", values)
    assert numbers(ranked(read_study(study))) == [2, 3, 1, 0, 4]
