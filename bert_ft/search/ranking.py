"""Which trials are the best ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bert_ft.search.study_log import StudyLog, TrialLog


def ranked(log: StudyLog) -> list[TrialLog]:
    """The complete trials, the best first, of equal ones the earlier.

    With several objectives those that no other one beats in all of them come first, then those that only these
    beat, and so on.
    """
    trials = [trial for trial in log.complete if trial.values and all(map(math.isfinite, trial.values))]
    costs = {trial.number: _costs(trial, log.maximize) for trial in trials}
    if len(log.maximize) == 1:
        return sorted(trials, key=lambda trial: (costs[trial.number], trial.number))
    found: list[TrialLog] = []
    while trials:
        front = [
            each
            for each in trials
            if not any(_dominates(costs[o.number], costs[each.number]) for o in trials)
        ]
        found += front
        trials = [trial for trial in trials if trial not in front]
    return found


def front(log: StudyLog) -> list[TrialLog]:
    """The trials that none beats in all objectives: of a single objective the best one."""
    best = ranked(log)
    if len(log.maximize) == 1:
        return best[:1]
    costs = [_costs(trial, log.maximize) for trial in best]
    return [
        trial
        for trial, own in zip(best, costs, strict=True)
        if not any(_dominates(other, own) for other in costs)
    ]


def best_so_far(values: Sequence[float], maximize: bool) -> list[float]:
    """The best of the values up to each of them."""
    found: list[float] = []
    for value in values:
        found.append(value if not found else (max if maximize else min)(found[-1], value))
    return found


def _costs(trial: TrialLog, maximize: Sequence[bool]) -> tuple[float, ...]:
    assert trial.values is not None
    return tuple(-value if more else value for value, more in zip(trial.values, maximize, strict=True))


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
