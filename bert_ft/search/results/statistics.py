"""Counts and times of a study."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bert_ft.search.results.study_log import StudyLog, TrialLog
from bert_ft.search.results.utilization import utilizations, wall_seconds, whole_utilization


@dataclass(frozen=True)
class Spread:
    """Durations in seconds."""

    least: float
    median: float
    most: float
    total: float


@dataclass(frozen=True)
class Statistics:
    """What became of the trials.

    Attributes:
        counts: state → trials.
        durations: state → seconds of those that ended in it.
        pruning_rate: the pruned ones' share of those that ran to an end without failing; ``None`` without any.
        seconds_saved: what the pruned ones would have taken more; ``None`` where it can't be estimated.
        num_estimated: how many of them have an estimate.
        wall_seconds: the time in which the search ran.
        idle_share: of the workers' time; ``None`` where there is none.
        to_first_step: median of the seconds from a trial's start to its first step.
        seconds_left: until all trials that are wanted are done, at the pace so far; ``None`` where it isn't known.
    """

    counts: dict[str, int]
    durations: dict[str, Spread]
    pruning_rate: float | None
    seconds_saved: float | None
    num_estimated: int
    wall_seconds: float
    idle_share: float | None
    to_first_step: float | None
    seconds_left: float | None


def statistics_of(log: StudyLog) -> Statistics:
    """The counts and times of the trials so far."""
    counts = Counter(trial.state for trial in log.trials)
    ended = counts["complete"] + counts["pruned"]
    saved = [each for trial in log.of_state("pruned") if (each := seconds_saved(trial, log)) is not None]
    workers = utilizations(log)
    wall = wall_seconds(log)
    first = [t.seconds_to_first_step for t in log.trials if t.seconds_to_first_step is not None]
    return Statistics(
        counts={
            state: counts[state] for state in ("complete", "pruned", "failed", "lost", "running", "waiting")
        },
        durations={
            state: spread
            for state in ("complete", "pruned", "failed", "lost")
            if (spread := _spread(log.of_state(state))) is not None
        },
        pruning_rate=counts["pruned"] / ended if ended else None,
        seconds_saved=sum(saved) if saved else None,
        num_estimated=len(saved),
        wall_seconds=wall,
        idle_share=whole_utilization(workers).idle_share if workers and wall else None,
        to_first_step=statistics.median(first) if first else None,
        seconds_left=_seconds_left(log, counts, wall),
    )


def seconds_saved(trial: TrialLog, log: StudyLog) -> float | None:
    """What a pruned trial would have taken more.

    By its own pace where its steps are known, else the median of the complete trials less its own time; ``None`` where
    neither can be said.
    """
    if trial.seconds is None:
        return None
    if trial.steps and trial.total_steps:
        training = max(0.0, trial.seconds - (trial.seconds_to_first_step or 0.0))
        return max(0.0, training / trial.steps * (trial.total_steps - trial.steps))
    whole = [each.seconds for each in log.complete if each.seconds is not None]
    return max(0.0, statistics.median(whole) - trial.seconds) if whole else None


def _spread(trials: Sequence[TrialLog]) -> Spread | None:
    seconds = [trial.seconds for trial in trials if trial.seconds is not None]
    if not seconds:
        return None
    return Spread(min(seconds), statistics.median(seconds), max(seconds), sum(seconds))


def _seconds_left(log: StudyLog, counts: Counter[str], wall: float) -> float | None:
    done = counts["complete"] + counts["pruned"] + counts["failed"]
    if log.num_wanted is None or not done or not wall:
        return None
    return max(0, log.num_wanted - done) * wall / done
