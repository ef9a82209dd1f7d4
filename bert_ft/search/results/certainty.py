"""How sure the values of trials are, from the number of validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.study_log import StudyLog, TrialLog
from bert_ft.standard_error import WITHOUT, standard_error

Z = 1.96  # 95% of a normal distribution are within so many standard errors


def error_of(log: StudyLog, trial: TrialLog) -> float | None:
    """Return the standard error of the trial's value; ``None`` if unknown (a loss, or no validation rows).

    It is computed as for a share of the rows, which is about right for an F1 score.
    """
    rows = trial.validated_rows
    is_share = len(log.objectives) == 1 and log.maximize[0] and trial.values and 0 <= trial.values[0] <= 1
    if not rows or not is_share or not trial.values or log.objectives[0].rpartition("/")[2] in WITHOUT:
        return None
    return standard_error(trial.values[0], rows, log.objectives[0])


def shown(log: StudyLog, trial: TrialLog) -> str:
    """Return the value of a single objective with its standard error: ``0.9400 ± 0.0120``."""
    assert trial.values
    error = error_of(log, trial)
    return f"{trial.values[0]:.4f}" + ("" if error is None else f" ± {error:.4f}")


def differ(log: StudyLog, one: TrialLog, other: TrialLog) -> bool | None:
    """Return whether two trials differ by more than chance, at 95%; ``None`` if their errors are unknown.

    This assumes that each was validated on other rows. They share them, so small differences are more certain
    than this.
    """
    errors = [error_of(log, each) for each in (one, other)]
    if None in errors or not one.values or not other.values:
        return None
    return abs(one.values[0] - other.values[0]) > Z * math.hypot(*(each or 0.0 for each in errors))


def equals_of_best(log: StudyLog) -> Sequence[TrialLog] | None:
    """Return the best trial and those that don't differ from it by more than chance; ``None`` if that is unknown."""
    trials = ranked(log)
    if not trials or error_of(log, trials[0]) is None:
        return None
    return [trial for trial in trials if not differ(log, trials[0], trial)]
