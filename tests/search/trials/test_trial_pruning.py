"""Trials of different numbers of steps are compared at the same share of them."""

import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, SuccessiveHalvingPruner

from bert_ft.search.trials.trial_pruning import at_progress_of, in_steps_of_the_first, should_prune
from tests.search.trials.reporting_trials import reported


def test_reports_are_compared_at_the_same_share_of_the_steps():
    own = reported({10: 0.1, 20: 0.2, 40: 0.4}, total_steps=40, value=0.4)
    other = reported({4: 1.0, 11: 2.0, 20: 3.0}, total_steps=20, value=3.0)
    # shares 1/4, 1/2 and 1 of 20 steps: up to 5, 10 and 20
    assert at_progress_of(own, other).intermediate_values == {10: 1.0, 20: 1.0, 40: 3.0}
    assert other.intermediate_values == {4: 1.0, 11: 2.0, 20: 3.0}


def test_the_same_steps_stay_as_they_are():
    own = reported({10: 0.1}, total_steps=40, value=0.4)
    for other in (reported({10: 1.0, 20: 2.0}, 40, value=2.0), reported({7: 1.0}, value=1.0)):
        assert at_progress_of(own, other) is other


def test_nothing_is_reported_so_early():
    own = reported({1: 0.1}, total_steps=100, value=0.1)
    assert at_progress_of(own, reported({5: 1.0}, total_steps=10, value=1.0)).intermediate_values == {}


def test_the_same_number_of_steps_with_other_validations():
    """Under max_steps trials of other batch sizes validate at other steps: the latest report up to there counts."""
    own = reported({30: 0.75}, total_steps=100, value=0.8)
    others = [{30: 0.833}, {16: 0.7, 24: 0.75, 32: 0.8}, {8: 0.6, 16: 0.72, 28: 0.74}, {28: 0.71}]
    found = [at_progress_of(own, reported(other, total_steps=100, value=0.8)) for other in others]
    assert [other.intermediate_values.get(30) for other in found] == [0.833, 0.75, 0.74, 0.71]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "pruner",
    [
        MedianPruner(n_startup_trials=0, n_min_trials=1),
        SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        HyperbandPruner(min_resource=1, max_resource=40, reduction_factor=3),
    ],
)
def test_never_against_fewer_than_three(pruner):
    study = optuna.create_study(direction="maximize", pruner=pruner)
    decisions = []
    for _ in range(9):
        trial = study.ask()
        trial.set_user_attr("total_steps", 40)
        trial.report(0.9 - 0.05 * trial.number, 20)  # each is worse than all before
        decisions.append(should_prune(study, study.trials[-1], 0.0))
        study.tell(trial, 0.9 - 0.05 * trial.number)
    assert not any(decisions[:3])
    assert any(decisions[3:])


def test_rounds_of_steps_are_shares_too():
    first = reported({10: 0.1}, total_steps=40, value=0.4)
    found = in_steps_of_the_first(reported({10: 0.1, 20: 0.2}, total_steps=20, value=0.4), [first])
    assert found.intermediate_values == {20: 0.1, 40: 0.2}
    assert in_steps_of_the_first(first, [first]) is first
