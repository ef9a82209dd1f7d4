"""Counts and times of a study."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass

from bert_ft.search.results.study_log import StudyLog, TrialLog
from bert_ft.search.results.utilization import utilizations, wall_seconds, whole_utilization

ENDED = ("complete", "pruned", "failed", "lost")


@dataclass(frozen=True)
class Spread:
    """Durations in seconds."""

    least: float
    median: float
    most: float
    total: float


@dataclass(frozen=True)
class Statistics:
    """Counts and times; ``None`` means unknown."""

    counts: dict[str, int]  # state → trials
    durations: dict[str, Spread]  # state → of the trials that ended in it
    pruning_rate: float | None  # share of the pruned among complete and pruned trials
    seconds_saved: float | None  # the further time that pruned trials would have taken
    wall_seconds: float  # in which the search ran
    idle_share: float | None  # of the workers' time
    to_first_step: float | None  # median of the seconds from a trial's start to its first step
    seconds_left: float | None  # at the pace so far


def statistics_of(log: StudyLog) -> Statistics:
    """Return the counts and times of the trials so far."""
    counts = Counter(trial.state for trial in log.trials)
    ended = counts["complete"] + counts["pruned"]
    saved = [each for trial in log.of_state("pruned") if (each := seconds_saved(trial, log)) is not None]
    workers = utilizations(log)
    wall = wall_seconds(log)
    first = [t.seconds_to_first_step for t in log.trials if t.seconds_to_first_step is not None]
    durations = {}
    for state in ENDED:
        if seconds := [trial.seconds for trial in log.of_state(state) if trial.seconds is not None]:
            durations[state] = Spread(min(seconds), statistics.median(seconds), max(seconds), sum(seconds))
    return Statistics(
        counts={state: counts[state] for state in (*ENDED, "running", "waiting")},
        durations=durations,
        pruning_rate=counts["pruned"] / ended if ended else None,
        seconds_saved=sum(saved) if saved else None,
        wall_seconds=wall,
        idle_share=whole_utilization(workers).idle_share if workers and wall else None,
        to_first_step=statistics.median(first) if first else None,
        seconds_left=_seconds_left(log, ended + counts["failed"], wall),
    )


def seconds_saved(trial: TrialLog, log: StudyLog) -> float | None:
    """Return the time that a pruned trial would still have taken; ``None`` if unknown.

    It is estimated from the trial's own pace if its steps are known, otherwise from the complete trials'
    median duration.
    """
    if trial.seconds is None:
        return None
    if trial.steps and trial.total_steps:
        training = max(0.0, trial.seconds - (trial.seconds_to_first_step or 0.0))
        return max(0.0, training / trial.steps * (trial.total_steps - trial.steps))
    whole = [each.seconds for each in log.complete if each.seconds is not None]
    return max(0.0, statistics.median(whole) - trial.seconds) if whole else None


def _seconds_left(log: StudyLog, done: int, wall: float) -> float | None:
    if log.num_wanted is None or not done or not wall:
        return None
    return max(0, log.num_wanted - done) * wall / done
