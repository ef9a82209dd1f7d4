"""A study as plain values, from which its tables and pictures are made."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bert_ft.compat.optuna import url_of
from bert_ft.search.processes import start_of

KEEP_TOP_K = 3
# attributes of a study: runs with further seeds begin with the first; the second says why there are none
CONFIRMED, NOT_CONFIRMED = "confirmed ", "not confirmed"
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, kw_only=True)
class TrialNotes:
    """User attributes of a trial."""

    folder: str | None = None
    overrides: Sequence[str] | None = None
    worker: Any = None
    host: str | None = None
    reason: str | None = None  # why it failed or was lost
    seconds_to_first_step: float | None = None
    steps: int | None = None  # optimizer steps done
    validated_rows: int | None = None  # rows of each validation, on all its processes
    total_steps: int | None = None  # optimizer steps of a whole run
    as_configured: Sequence[str] | None = None  # of the trial as configured: the parameters drawn anyway


@dataclass(frozen=True)
class TrialLog(TrialNotes):
    """A trial; ``None`` means unknown."""

    number: int
    state: str  # one of STATES, or ``lost``: its process was killed
    values: tuple[float, ...] | None = None  # one for each objective, if complete
    params: Mapping[str, Any] = field(default_factory=dict)
    reported: Mapping[int, float] = field(default_factory=dict)  # step → value, the finite ones, by step
    start: datetime | None = None
    end: datetime | None = None  # while running: when it was read; if lost unnoticed: the last time known
    is_settled: bool = (
        True  # False if its state may change: one just ``lost`` may have ended well, not yet stored
    )

    @property
    def seconds(self) -> float | None:
        """From its start to its end, or until now."""
        return None if self.start is None or self.end is None else (self.end - self.start).total_seconds()

    @property
    def last_reported(self) -> tuple[int, float] | None:
        """Step and value of the last report."""
        return list(self.reported.items())[-1] if self.reported else None


@dataclass(frozen=True)
class StudyLog:
    """A study at one moment; ``None`` means unknown."""

    name: str
    trials: Sequence[TrialLog]
    objectives: Sequence[str]
    maximize: Sequence[bool]  # for each objective
    distributions: Mapping[str, BaseDistribution] = field(
        default_factory=dict
    )  # of the latest trial with each
    num_wanted: int | None = None  # n_trials
    command: str | None = None  # that started the search
    folder: str | None = None
    storage: str | None = None  # its URL; None in memory
    keep_top_k: int | None = KEEP_TOP_K  # None: all
    # runs with further seeds, and why there are none: see ``confirmation``
    confirming: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    not_confirmed: str | None = None

    def of_state(self, *states: str) -> list[TrialLog]:
        """Return the trials in one of these states."""
        return [trial for trial in self.trials if trial.state in states]

    @property
    def complete(self) -> list[TrialLog]:
        """The trials that have values."""
        return self.of_state("complete")


def read_study(study: Study, now: datetime | None = None) -> StudyLog:
    """Return the content of the study's storage; running trials last until ``now`` (``None``: the current time)."""
    now = now or datetime.now()
    frozen = study.get_trials(deepcopy=False)
    last = max((t.datetime_complete for t in frozen if t.datetime_complete is not None), default=None)
    noted = study.user_attrs
    command = noted.get("command")
    return StudyLog(
        name=study.study_name,
        trials=[_trial(each, now, last) for each in frozen],
        objectives=_objectives(study, noted.get("objective")),
        maximize=[direction == StudyDirection.MAXIMIZE for direction in study.directions],
        distributions={name: each for trial in frozen for name, each in trial.distributions.items()},
        num_wanted=noted.get("n_trials"),
        command=" ".join(command) if isinstance(command, list) else command,
        folder=noted.get("folder"),
        storage=url_of(study),
        confirming={name: run for name, run in noted.items() if name.startswith(CONFIRMED)},
        not_confirmed=noted.get(NOT_CONFIRMED),
        keep_top_k=noted.get("keep_top_k", noted.get("keep_best", KEEP_TOP_K)),  # keep_best: its earlier name
    )


def _trial(trial: FrozenTrial, now: datetime, last: datetime | None) -> TrialLog:
    known = {name: trial.user_attrs.get(name) for name in TrialNotes.__dataclass_fields__}
    finite = {step: value for step, value in trial.intermediate_values.items() if math.isfinite(value)}
    state, end = STATES[trial.state], trial.datetime_complete
    if state == "running" and _is_gone(trial):
        state, end = "lost", last
        known["reason"] = "its process is gone"
    elif state == "running":
        end = now
    elif state == "failed" and trial.user_attrs.get("lost"):
        state = "lost"
        if end is not None and (seen := trial.user_attrs.get("last_seen")) is not None:
            end = min(end, datetime.fromtimestamp(seen))
    return TrialLog(
        number=trial.number,
        state=state,
        values=tuple(trial.values) if trial.state == TrialState.COMPLETE and trial.values else None,
        params=trial.params,
        reported=dict(sorted(finite.items())),
        start=trial.datetime_start,
        end=max(end or trial.datetime_start, trial.datetime_start) if trial.datetime_start else end,
        is_settled=trial.state.is_finished(),
        **known,
    )


def _is_gone(trial: FrozenTrial) -> bool:
    """Return whether a running trial of this machine has lost its process."""
    pid, host = trial.user_attrs.get("pid"), trial.user_attrs.get("host")
    if pid is None or host != socket.gethostname():
        return False
    now = start_of(pid)
    return now is None or trial.user_attrs.get("pid_started", now) != now


def _objectives(study: Study, noted: Any) -> list[str]:
    """Return the names of the values: Optuna's, else the search's, else numbers."""
    count = len(study.directions)
    if study.metric_names:
        return list(study.metric_names)
    names = [noted] if isinstance(noted, str) else list(noted or [])
    if len(names) == count:
        return names
    return ["value"] if count == 1 else [f"value {place}" for place in range(count)]


def seconds_between(first: datetime, last: datetime) -> float:
    """Return the seconds from ``first`` to ``last``."""
    return (last - first) / timedelta(seconds=1)
