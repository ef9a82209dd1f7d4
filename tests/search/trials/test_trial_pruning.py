"""Trials of different numbers of steps are compared at the same share of them."""

from bert_ft.search.trials.trial_pruning import at_progress_of
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
