"""A study as plain values: what its tables and pictures are made of."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bert_ft.compat.optuna import url_of
from bert_ft.search.processes import start_of

# a trial's user attributes, each with a field of its name
ATTRIBUTES = (
    "folder",
    "overrides",
    "worker",
    "host",
    "reason",
    "seconds_to_first_step",
    "steps",
    "total_steps",
    "as_configured",
)


@dataclass(frozen=True)
class TrialLog:
    """One trial.

    Attributes:
        number: counted from 0.
        state: ``complete``, ``pruned``, ``failed``, ``lost`` (its process was killed), ``running`` or ``waiting``.
        values: one for each objective; ``None`` unless it is complete.
        params: name → value.
        reported: step → value, the finite ones in the order of the steps.
        start: when it began.
        end: when it ended; of a running one the time of reading, of a lost one whose end nobody noted the last thing known.
        folder: of its job.
        overrides: of its job.
        worker: the slot that it ran in.
        host: likewise the machine.
        reason: why it failed or was lost.
        seconds_to_first_step: from its start.
        steps: optimizer steps done.
        total_steps: optimizer steps of a whole run.
        is_settled: whether its state can't change any more; one that is ``lost`` for now, since its process is no more, may
            just have ended well and not been told so yet.
        as_configured: of the one that is the configuration that the search began from: the parameters that were drawn
            nevertheless.
    """

    number: int
    state: str
    values: tuple[float, ...] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    reported: Mapping[int, float] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    folder: str | None = None
    overrides: Sequence[str] | None = None
    worker: Any = None
    host: str | None = None
    reason: str | None = None
    seconds_to_first_step: float | None = None
    steps: int | None = None
    total_steps: int | None = None
    as_configured: Sequence[str] | None = None
    is_settled: bool = True

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
    """A study at one moment.

    Attributes:
        name: of the study.
        trials: by their number.
        objectives: the names of the values.
        maximize: for each of them whether more is better.
        distributions: parameter → its range in the latest trial that has it, in the order of their appearance.
        num_wanted: the trials that were asked for; ``None`` where it isn't known.
        num_workers: likewise the slots.
        command: that the search was started with.
        folder: the sweep's.
        storage: its URL; ``None`` where it lies in memory.
        keep_top_k: how many trials keep their model; ``None``: all.
        now: the moment.
    """

    name: str
    trials: Sequence[TrialLog]
    objectives: Sequence[str]
    maximize: Sequence[bool]
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    num_wanted: int | None = None
    num_workers: int | None = None
    command: str | None = None
    folder: str | None = None
    storage: str | None = None
    keep_top_k: int | None = 3
    now: datetime = field(default_factory=datetime.now)

    def of_state(self, *states: str) -> list[TrialLog]:
        """The trials in one of these states."""
        return [trial for trial in self.trials if trial.state in states]

    @property
    def complete(self) -> list[TrialLog]:
        """The trials that have values."""
        return self.of_state("complete")


KEEP_TOP_K = 3
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def read_study(study: Study, now: datetime | None = None) -> StudyLog:
    """The study as its storage has it ``now`` (``None``: by the clock)."""
    now = now or datetime.now()
    frozen = study.get_trials(deepcopy=False)
    ends = [trial.datetime_complete for trial in frozen if trial.datetime_complete is not None]
    last = max(ends, default=None)
    attributes = study.user_attrs
    return StudyLog(
        name=study.study_name,
        trials=[_trial(each, now, last) for each in frozen],
        objectives=_objectives(study, attributes.get("objective")),
        maximize=[direction == StudyDirection.MAXIMIZE for direction in study.directions],
        distributions={name: each for trial in frozen for name, each in trial.distributions.items()},
        num_wanted=attributes.get("n_trials"),
        num_workers=attributes.get("n_jobs"),
        command=_words(attributes.get("command")),
        folder=attributes.get("folder"),
        storage=url_of(study),
        keep_top_k=keep_top_k_of(study),
        now=now,
    )


def keep_top_k_of(study: Study) -> int | None:
    """Return how many of the study's trials keep their model; ``None``: all."""
    attributes = study.user_attrs
    keep: int | None = attributes.get(
        "keep_top_k", attributes.get("keep_best", KEEP_TOP_K)
    )  # its earlier name
    return keep


def sweep_folder(study: Study) -> Path | None:
    """The folder that the study noted as its own."""
    folder = study.user_attrs.get("folder")
    return None if folder is None else Path(folder)


def _trial(trial: FrozenTrial, now: datetime, last: datetime | None) -> TrialLog:
    known = {name: trial.user_attrs.get(name) for name in ATTRIBUTES}
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
    """Whether the process of a running trial, one of this machine, has ended."""
    pid, host = trial.user_attrs.get("pid"), trial.user_attrs.get("host")
    if pid is None or host != socket.gethostname():
        return False
    now = start_of(pid)
    return now is None or trial.user_attrs.get("pid_started", now) != now


def _objectives(study: Study, noted: Any) -> list[str]:
    """Optuna's own names of the values, else what the search noted, else numbered ones."""
    count = len(study.directions)
    if study.metric_names:
        return list(study.metric_names)
    names = [noted] if isinstance(noted, str) else list(noted or [])
    if len(names) == count:
        return names
    return ["value"] if count == 1 else [f"value {place}" for place in range(count)]


def _words(command: Any) -> str | None:
    return " ".join(command) if isinstance(command, list) else command


def seconds_between(first: datetime, last: datetime) -> float:
    """From ``first`` to ``last``."""
    return (last - first) / timedelta(seconds=1)
