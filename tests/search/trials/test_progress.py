from datetime import datetime, timedelta

import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from bert_ft.search.trials.progress import Standing, line, standing

START = datetime(2026, 1, 1)


def trial(number: int, state: TrialState, value: float | None = None, seconds: float = 10.0, **attributes):
    found = create_trial(state=state, value=value, user_attrs=attributes)
    found.number, found.datetime_start = number, START
    found.datetime_complete = START + timedelta(seconds=seconds) if state.is_finished() else None
    return found


TRIALS = [
    trial(0, TrialState.COMPLETE, 0.5),
    trial(1, TrialState.COMPLETE, 0.9, seconds=30.0),
    trial(2, TrialState.PRUNED, 0.99, seconds=5.0),
    trial(3, TrialState.FAIL, seconds=1.0),
    trial(4, TrialState.FAIL, seconds=1.0, lost=True),
    trial(5, TrialState.RUNNING),
    trial(6, TrialState.RUNNING),
]


def test_standing():
    assert standing(TRIALS, [StudyDirection.MAXIMIZE]) == Standing(2, 1, 1, 2, (1, 0.9), 15.0)
    assert standing(TRIALS, [StudyDirection.MINIMIZE]).best == (0, 0.5)


def test_the_line():
    now = standing(TRIALS, [StudyDirection.MAXIMIZE])
    # 16 of 15 s are left, two at a time
    assert line(now, 20, "val/accuracy") == (
        "4 of 20 trials done (1 pruned, 1 failed) · 2 running · best val/accuracy 0.9 (trial 1) · 2:00 left"
    )
    assert line(standing([], [StudyDirection.MAXIMIZE]), 20, "loss") == "0 of 20 trials done · 0 running"


@pytest.mark.parametrize(("seconds", "expected"), [(3600.0, "1:00:00"), (59.6, "1:00")])
def test_time_left(seconds, expected):
    now = Standing(1, 0, 0, 1, (0, 1.0), seconds)
    assert line(now, 2, "loss").endswith(f"· {expected} left")
