import math

import pytest

from bert_ft.search.results.study_log import read_study
from bert_ft.search.results.utilization import (
    Utilization,
    lanes_of,
    sessions,
    stays,
    utilizations,
    wall_seconds,
    whole_utilization,
)
from tests.search.results.studies import add, new_study


def two_workers():
    """Worker 0: 0–10 and 12–20; worker 1: 0–30."""
    study = new_study()
    add(study, value=1, span=(0, 10), worker=0)
    add(study, value=1, span=(0, 30), worker=1)
    add(study, value=1, span=(12, 20), worker=0)
    return study


def test_idle_time_between_and_after_trials():
    log = read_study(two_workers())
    assert utilizations(log) == [
        Utilization("0", num_trials=2, busy=18.0, between=2.0, after=10.0),
        Utilization("1", num_trials=1, busy=30.0, between=0.0, after=0.0),
    ]
    assert whole_utilization(utilizations(log)).idle_share == pytest.approx(12 / 60)
    assert wall_seconds(log) == 30.0


def test_a_break_of_the_search_is_not_idle_time():
    study = two_workers()
    add(study, value=1, span=(30 + 61, 30 + 71), worker=0)
    log = read_study(study)
    assert [len(session) for session in sessions(stays(log))] == [3, 1]
    assert utilizations(log)[0] == Utilization("0", num_trials=3, busy=28.0, between=2.0, after=10.0)
    assert wall_seconds(log) == 40.0
    study = two_workers()
    add(study, value=1, span=(30 + 59, 30 + 69), worker=0)  # of less than a minute: it is
    assert utilizations(read_study(study))[0].between == 2 + 69


def test_a_worker_that_is_starts_later_has_no_time_before():
    study = new_study()
    add(study, value=1, span=(0, 50), worker=0)
    add(study, value=1, span=(20, 40), worker=1)
    assert utilizations(read_study(study))[1] == Utilization("1", 1, busy=20.0, between=0.0, after=10.0)


def test_trials_without_a_worker_are_put_where_there_is_room():
    study = new_study()
    for span in ((0, 10), (1, 5), (6, 9), (10, 12)):
        add(study, value=1, span=span)
    assert [stay.lane for stay in stays(read_study(study))] == ["0", "1", "1", "0"]


def test_the_same_worker_of_two_machines_is_two():
    study = new_study()
    for worker, host in ((10, "a"), (2, "a"), (2, "b")):
        add(study, value=1, worker=worker, host=host)
    assert lanes_of(stays(read_study(study))) == ["a 2", "a 10", "b 2"]


def test_no_trial_no_time():
    log = read_study(new_study())
    assert (utilizations(log), wall_seconds(log)) == ([], 0.0)
    assert math.isnan(whole_utilization([]).idle_share)
