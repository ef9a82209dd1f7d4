"""How the workers spent their time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bert_ft.search.results.study_log import StudyLog, TrialLog, seconds_between

BREAK = 60.0  # seconds without any trial: the search wasn't running


@dataclass(frozen=True)
class Stay:
    """A trial in its worker.

    Attributes:
        lane: the worker's name.
        trial: what ran in it.
        start: when it began.
        end: when it ended.
    """

    lane: str
    trial: TrialLog
    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return seconds_between(self.start, self.end)


@dataclass(frozen=True)
class Utilization:
    """The seconds of one worker, or of all of them, while the search ran.

    Attributes:
        lane: the worker's name.
        num_trials: that it ran.
        busy: while a trial ran.
        between: from a trial's end to the next one's start.
        after: from its last trial to the end of the others.
    """

    lane: str
    num_trials: int
    busy: float
    between: float
    after: float

    @property
    def idle_share(self) -> float:
        """The share of its time in which no trial ran; NaN where it had no time."""
        whole = self.busy + self.between + self.after
        return (self.between + self.after) / whole if whole else float("nan")


def stays(log: StudyLog) -> list[Stay]:
    """Every trial that began, by its start; trials without a noted worker are put where there is room."""
    begun = [trial for trial in log.trials if trial.start is not None and trial.end is not None]
    begun.sort(key=lambda trial: (trial.start, trial.number))
    hosts = {trial.host for trial in begun if trial.host is not None}
    free: list[datetime] = []  # of the workers that weren't noted: when each is free again
    found = []
    for trial in begun:
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
    """The workers, numbers in their order."""
    lanes = {stay.lane for stay in found}
    return sorted(lanes, key=lambda lane: [(not word.isdigit(), word.zfill(9)) for word in lane.split()])


def sessions(found: Sequence[Stay]) -> list[list[Stay]]:
    """The trials by the times in which the search ran: between two of them, over a minute without any trial."""
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
    """What each worker did with its time, from its first trial on, in all times in which the search ran."""
    found = stays(log)
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    for session in sessions(found):
        last = max(stay.end for stay in session)
        for lane in lanes_of(session):
            own = [stay for stay in session if stay.lane == lane]
            ends = [max(stay.end for stay in own[: place + 1]) for place in range(len(own))]
            gaps = [
                max(0.0, seconds_between(end, later.start)) for end, later in zip(ends, own[1:], strict=False)
            ]
            after = seconds_between(ends[-1], last)
            whole = seconds_between(own[0].start, last)
            for place, part in enumerate((len(own), whole - sum(gaps) - after, sum(gaps), after)):
                sums[lane][place] += part
    return [
        Utilization(lane, int(count), busy, between, after)
        for lane in lanes_of(found)
        for count, busy, between, after in [sums[lane]]
    ]


def whole_utilization(parts: Sequence[Utilization]) -> Utilization:
    """All workers together."""
    return Utilization(
        "all",
        sum(part.num_trials for part in parts),
        sum(part.busy for part in parts),
        sum(part.between for part in parts),
        sum(part.after for part in parts),
    )


def wall_seconds(log: StudyLog) -> float:
    """The time in which the search ran, without breaks."""
    return sum(
        seconds_between(session[0].start, max(stay.end for stay in session))
        for session in sessions(stays(log))
    )
