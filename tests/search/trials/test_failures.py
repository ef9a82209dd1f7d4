import math

import pytest
from optuna.trial import TrialState, create_trial

from bert_ft.errors import SearchError
from bert_ft.search.trials.failures import (
    FailureCount,
    objective_values,
    reason_of_error,
    reason_of_exit,
    too_many,
    was_killed,
)


@pytest.mark.parametrize(
    ("code", "is_kill", "words"),
    [
        (-9, True, "was killed (SIGKILL), as the system does when memory runs out"),
        (-15, True, "was killed (SIGTERM)"),
        (-2, True, "was killed (SIGINT)"),
        (-11, False, "crashed (SIGSEGV)"),
        (-6, False, "crashed (SIGABRT)"),
        (0, False, "exit code 0"),
        (3, False, "exit code 3"),
    ],
)
def test_processes_that_ended(code, is_kill, words):
    assert was_killed(code) is is_kill  # only what others send
    assert words in reason_of_exit(code)


def test_reasons_of_errors():
    assert reason_of_error(KeyError("x")) == "KeyError: 'x'"
    assert reason_of_error(RuntimeError("CUDA out of memory. Tried\n to allocate")).startswith(
        "out of memory: CUDA"
    )
    assert len(reason_of_error(ValueError("x" * 9999))) == 500


@pytest.mark.parametrize(
    ("returned", "expected"), [(1, [1.0]), ("0.5", [0.5]), ((1, 2), [1.0, 2.0]), ([1, 2.5], [1.0, 2.5])]
)
def test_objective_values(returned, expected):
    assert objective_values(returned, len(expected)) == expected


@pytest.mark.parametrize(
    ("returned", "num_objectives", "words"),
    [
        (None, 1, "returned None, not a number"),
        ("abc", 1, "not a number"),
        (math.nan, 1, "the objective is nan"),
        (math.inf, 1, "the objective is inf"),
        ((1, math.nan), 2, "the objective is nan"),
        ((1,), 2, "not 2 numbers"),
        (1.0, 2, "not 2 numbers"),
        ("12", 2, "not 2 numbers"),
    ],
)
def test_no_objective(returned, num_objectives, words):
    with pytest.raises(ValueError, match=words):
        objective_values(returned, num_objectives)


@pytest.mark.parametrize(
    ("failed", "ended", "rate", "n_trials", "expected"),
    [
        (9, 9, 0.5, 20, False),  # not enough to tell
        (6, 10, 0.5, 20, True),
        (5, 10, 0.5, 20, False),
        (10, 10, 1.0, 20, False),
        (4, 4, 0.5, 4, True),  # there will be no more
        (1, 1, 0.0, 20, True),
        (0, 10, 0.0, 20, False),
    ],
)
def test_too_many(failed, ended, rate, n_trials, expected):
    assert too_many(failed, ended, rate, n_trials) is expected


def test_too_many_failures_end_the_search():
    failures = FailureCount(0.5, n_trials=2)
    failures.add(create_trial(state=TrialState.FAIL, user_attrs={"reason": "NaN"}))
    failures.check()
    failures.add(create_trial(state=TrialState.FAIL))
    with pytest.raises(
        SearchError, match=r"^2 of 2 trials failed, .* hydra\.sweeper\.max_failure_rate=0\.5; "
    ):
        failures.check()
