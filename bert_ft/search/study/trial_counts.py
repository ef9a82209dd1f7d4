"""Which trials of a study count, and which are repeated by others."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from bert_ft.search.study.equal_trials import EQUAL_TO

# attributes of a trial
LOST = "lost"  # it was killed and is to be run again
RETRY_OF = "retry_of"  # number of the trial that this one repeats


def num_claimed(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials count: running or ended ones, except those that are repeated."""
    again = run_again(trials)
    return sum(
        trial.state != TrialState.WAITING and not is_lost(trial) and trial.number not in again
        for trial in trials
    )


def equal_to(trial: FrozenTrial) -> int | None:
    """Return the number of the trial whose outcome this one has taken."""
    return trial.user_attrs.get(EQUAL_TO)


def run_again(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that others repeat."""
    return {trial.system_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.system_attrs}


def is_lost(trial: FrozenTrial) -> bool:
    """Return whether the trial was killed and will be run again."""
    return trial.state == TrialState.FAIL and bool(trial.user_attrs.get(LOST))


def to_run_again(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the lost trials that are not queued yet."""
    again = run_again(trials)
    return [trial for trial in trials if is_lost(trial) and trial.number not in again]
