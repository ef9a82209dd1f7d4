import pytest

from bert_ft.search.results.statistics import Spread, seconds_saved, statistics_of
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, at, new_study


def test_nothing_is_known_of_no_trial():
    log = read_study(new_study())
    found = statistics_of(log)
    assert (found.pruning_rate, found.seconds_saved, found.idle_share, found.seconds_left) == (None,) * 4


def test_counts_durations_and_rates():
    study = new_study(n_trials=20)
    for seconds in (10, 20, 60):
        add(study, value=1, span=(0, seconds), worker=0, seconds_to_first_step=seconds / 10)
    add(study, "pruned", span=(60, 65), worker=0)
    add(study, "failed", span=(65, 67), worker=0)
    add(study, "failed", span=(67, 68), worker=0, lost=True)
    add(study, "running", span=(68, None), worker=0)
    found = statistics_of(read_study(study, now=at(70)))
    assert found.counts == {"complete": 3, "pruned": 1, "failed": 1, "lost": 1, "running": 1, "waiting": 0}
    assert found.durations["complete"] == Spread(least=10, median=20, most=60, total=90)
    assert found.durations["pruned"] == Spread(5, 5, 5, 5)
    assert found.pruning_rate == 1 / 4
    assert found.to_first_step == 2.0
    assert found.wall_seconds == 70
    assert found.seconds_left == pytest.approx((20 - 5) * 70 / 5)


def test_what_pruning_saved_by_the_trials_own_pace():
    study = new_study()
    # 20 steps in 10 s after 2 s: 80 more would have taken 40 s
    add(study, "pruned", span=(0, 12), steps=20, total_steps=100, seconds_to_first_step=2.0)
    assert statistics_of(read_study(study)).seconds_saved == pytest.approx(40)


def test_what_pruning_saved_by_the_complete_trials():
    study = new_study()
    for seconds in (30, 50, 100):
        add(study, value=1, span=(0, seconds))
    add(study, "pruned", span=(0, 20))
    add(study, "pruned", span=(0, 80))  # longer than the median: nothing
    log = read_study(study)
    assert [seconds_saved(trial, log) for trial in log.of_state("pruned")] == [30, 0]
    assert statistics_of(log).seconds_saved == 30


def test_what_pruning_saved_is_unknown_without_either():
    study = new_study()
    add(study, "pruned", span=(0, 20))
    assert statistics_of(read_study(study)).seconds_saved is None
