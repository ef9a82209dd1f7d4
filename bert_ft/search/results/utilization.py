"""Statistics of the workers' time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from bert_ft.search.results.study_log import StudyLog, TrialLog, seconds_between

BREAK = 60.0  # seconds without any trial after which the search counts as not running


@dataclass(frozen=True)
class Stay:
    """A trial in its worker, the ``lane``."""

    lane: str
    trial: TrialLog
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Utilization:
    """The seconds of a worker while the search ran."""

    lane: str
    num_trials: int
    busy: float  # while a trial ran
    between: float  # between the end of a trial and the start of the next one
    after: float  # between its last trial and the end of the others

    @property
    def idle_share(self) -> float:
        """The share of its time without a trial; NaN if it had no time."""
        whole = self.busy + self.between + self.after
        return (self.between + self.after) / whole if whole else float("nan")


def stays(log: StudyLog) -> list[Stay]:
    """Return the started trials in order; a trial without a recorded worker goes to any free one."""
    started = [trial for trial in log.trials if trial.start is not None and trial.end is not None]
    started.sort(key=lambda trial: (trial.start, trial.number))
    hosts = {trial.host for trial in started if trial.host is not None}
    free: list[datetime] = []  # when each of the workers that weren't noted is free again
    found = []
    for trial in started:
        assert trial.start is not None
        assert trial.end is not None
        if trial.worker is not None:
            lane = f"{trial.host} {trial.worker}" if len(hosts) > 1 else str(trial.worker)
        else:
            place = next((place for place, end in enumerate(free) if end <= trial.start), len(free))
            free[place : place + 1] = [trial.end]
            lane = str(place)
        found.append(Stay(lane, trial, trial.start, trial.end))
    return found


def lanes_of(found: Sequence[Stay]) -> list[str]:
    """Return the workers in numerical order."""
    lanes = {stay.lane for stay in found}
    return sorted(lanes, key=lambda lane: [(not word.isdigit(), word.zfill(9)) for word in lane.split()])


def sessions(found: Sequence[Stay]) -> list[list[Stay]]:
    """Return the trials of each period in which the search ran; the gaps are longer than ``BREAK``."""
    groups: list[list[Stay]] = []
    end: datetime | None = None
    for stay in found:
        if end is None or seconds_between(end, stay.start) > BREAK:
            groups.append([])
            end = stay.end
        groups[-1].append(stay)
        end = max(end, stay.end)
    return groups


def utilizations(log: StudyLog) -> list[Utilization]:
    """Return each worker's times, from its first trial in each session."""
    found = stays(log)
    sums: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))
    for session in sessions(found):
        last = max(stay.end for stay in session)
        for lane in lanes_of(session):
            own = [stay for stay in session if stay.lane == lane]
            ends = list(accumulate((stay.end for stay in own), max))
            gaps = sum(
                max(0.0, seconds_between(end, later.start)) for end, later in zip(ends, own[1:], strict=False)
            )
            after = seconds_between(ends[-1], last)
            whole = seconds_between(own[0].start, last)
            sums[lane] += (len(own), whole - gaps - after, gaps, after)
    return [Utilization(lane, int(sums[lane][0]), *sums[lane][1:].tolist()) for lane in lanes_of(found)]


def whole_utilization(parts: Sequence[Utilization]) -> Utilization:
    """Return the sum over all workers."""
    names = ("num_trials", "busy", "between", "after")
    return Utilization("all", *(sum(getattr(part, name) for part in parts) for name in names))


def wall_seconds(log: StudyLog) -> float:
    """Return the time in which the search ran, without breaks."""
    return sum(
        seconds_between(session[0].start, max(stay.end for stay in session))
        for session in sessions(stays(log))
    )
