"""The next trial of a study that several processes, on several machines, work on together.

``n_trials`` counts over all of them: a process looks at the study, and starts a trial if one is left, while it holds
the study's lock. What is lost to a kill doesn't count; it is run again with the same values.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from bert_ft.compat.optuna import CachedStorage, attributes_to_repeat, tell, trial_id
from bert_ft.search.study.liveness import HEARTBEAT_SECONDS, Owner, is_alive
from bert_ft.search.study.storage import locked, now

# attributes of a trial
OWNER = "owner"
LOST = "lost"  # it failed because it was killed, and is to be run again
RETRIES = "retries"  # how often the like of it was killed individually
RETRY_OF = "retry_of"  # number of the trial that this one runs again
AS_CONFIGURED = (
    "as_configured"  # of the trial that is the configuration: the parameters that are drawn nevertheless
)

LAST_SEEN = "last_seen"  # when its process was, if it died unnoticed, in seconds by this machine's clock

SECONDS_BETWEEN_LOOKS = 5.0  # at whether the others live

log = logging.getLogger(__name__)


def queue_as_configured(
    study: optuna.Study, storage: CachedStorage, values: Mapping[str, Any], drawn: Sequence[str]
) -> None:
    """Let a study without trials begin with the configuration as it stands, so that the search tells what it has brought.

    Args:
        study: the study.
        storage: its database.
        values: the configured values; without any nothing is queued.
        drawn: the other parameters, whose ranges don't have what is configured.
    """
    if not values:
        return
    with locked(storage, study.study_name):
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(values), user_attrs={AS_CONFIGURED: list(drawn)})


def num_claimed(trials: Sequence[FrozenTrial]) -> int:
    """How many count: those that run or have ended, but for those that are run again."""
    return sum(trial.state != TrialState.WAITING and not is_lost(trial) for trial in trials)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether it was killed and is to be run again."""
    return trial.state == TrialState.FAIL and bool(trial.user_attrs.get(LOST))


def to_run_again(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The lost ones that nobody has put in the queue yet."""
    again = {trial.system_attrs.get(RETRY_OF) for trial in trials}
    return [trial for trial in trials if is_lost(trial) and trial.number not in again]


def orphans(trials: Sequence[FrozenTrial], heartbeats: Mapping[str, Any], moment: float) -> list[FrozenTrial]:
    """The trials that are said to run and whose process has died.

    One without an owner lost it before it could be named: that is done while the lock is held.
    """
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    owners = {trial.number: Owner.of(trial.user_attrs.get(OWNER)) for trial in running}
    return [
        trial
        for trial in running
        if (owner := owners[trial.number]) is None or not is_alive(owner, heartbeats, moment)
    ]


def _repeating(trial: FrozenTrial) -> dict[str, Any]:
    """The attributes of a trial that runs a lost one again."""
    attributes = {RETRY_OF: trial.number, RETRIES: trial.user_attrs.get(RETRIES, 0)}
    mark = {AS_CONFIGURED: trial.user_attrs[AS_CONFIGURED]} if AS_CONFIGURED in trial.user_attrs else {}
    return {"system_attrs": attributes | attributes_to_repeat(trial), "user_attrs": mark}


class FailedDrawError(Exception):
    """A trial failed before it could be run.

    Attributes:
        trial: as it ended.
    """

    def __init__(self, trial: FrozenTrial) -> None:
        super().__init__(f"Trial {trial.number} {trial.user_attrs['reason']}")
        self.trial = trial


class TrialQueue:
    """Start trials of a study, and end them.

    Args:
        study: the study, with the sampler that draws.
        storage: its database.
        n_trials: how many trials the study shall have in all.
        retry: how often a trial whose process was killed is run again.
        draw: gives a trial its values.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: CachedStorage,
        *,
        n_trials: int,
        retry: int,
        draw: Callable[[Trial], None],
    ) -> None:
        self.study = study
        self.storage = storage
        self.n_trials = n_trials
        self.retry = retry
        self.owner = Owner.this_process()
        self._draw = draw
        self._cleared_at = -float("inf")
        self._beaten_at = -float("inf")

    def next(self) -> Trial | None:
        """A trial that is this process's to run; ``None`` if none is left at the moment.

        Raises:
            FailedDrawError: its choices don't go together, so that it has failed.
        """
        with locked(self.storage, self.study.study_name):
            if time.monotonic() - self._cleared_at > SECONDS_BETWEEN_LOOKS:
                self._clear_away()
            trials = self._queued_again()
            if num_claimed(trials) >= self.n_trials:
                self._clear_away()  # before there is nothing left to do
                trials = self._queued_again()
            if num_claimed(trials) >= self.n_trials:
                return None
            trial = self.study.ask()
            trial.set_user_attr(OWNER, self.owner.to_dict())
            try:
                self._draw(trial)
            except (HydraException, OmegaConfBaseException) as error:
                reason = f"can't be composed: {' '.join(str(error).split())}"
                self.fail(self.storage.get_trial(trial_id(trial)), reason)
                raise FailedDrawError(self.storage.get_trial(trial_id(trial))) from error
            return trial

    def clear_away(self) -> None:
        """Fail the trials of processes that have died; ``next`` runs them again."""
        with locked(self.storage, self.study.study_name):
            self._clear_away()

    def _clear_away(self) -> None:
        self._cleared_at = time.monotonic()
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not trials:
            return
        heartbeats, moment = self.study.user_attrs, now(self.storage)
        for trial in orphans(trials, heartbeats, moment):
            log.info(f"Trial {trial.number} was left by a process that has died; it is run again")
            if (owner := Owner.of(trial.user_attrs.get(OWNER))) and (
                seen := heartbeats.get(owner.heartbeat_key)
            ):
                # it may be long ago, and is no time that the search has worked for
                self.storage.set_trial_user_attr(trial_id(trial), LAST_SEEN, time.time() - (moment - seen))
            self.lose(trial, "the process that ran the search died")

    def _queued_again(self) -> list[FrozenTrial]:
        """All trials; those that are lost have been put in the queue."""
        trials = self.study.get_trials(deepcopy=False)
        lost = to_run_again(trials)
        for trial in lost:
            self.study.add_trial(create_trial(state=TrialState.WAITING, **_repeating(trial)))
        return self.study.get_trials(deepcopy=False) if lost else trials

    def lose(self, trial: FrozenTrial, reason: str, *, killed_individually: bool = False) -> bool:
        """End a trial that was killed, and return whether it is to be run again.

        Args:
            trial: which.
            reason: what is stored as its reason.
            killed_individually: whether only its own process was killed, not the whole search. A trial to which that happens
                more than ``retry`` times fails.
        """
        if not self._is_ours(trial):
            return False
        retries = trial.system_attrs.get(RETRIES, 0) + killed_individually
        again = retries <= self.retry
        if again:
            self.storage.set_trial_user_attr(trial_id(trial), LOST, True)
            self.storage.set_trial_user_attr(trial_id(trial), RETRIES, retries)
        self.fail(trial, reason if retries < 2 else f"{reason}, {retries} times")
        return again

    def lose_own(self, reason: str) -> None:
        """End what this process has begun; the next search on the study runs it again."""
        ours = self.owner.to_dict()
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if trial.user_attrs.get(OWNER) == ours:
                self.lose(trial, reason)

    def fail(self, trial: FrozenTrial, reason: str) -> None:
        """End a trial for good, with the reason stored."""
        if not self._is_ours(trial):
            return
        self.storage.set_trial_user_attr(trial_id(trial), "reason", reason)
        tell(self.study, trial.number, TrialState.FAIL)

    def complete(self, trial: FrozenTrial, values: Sequence[float]) -> None:
        """End a trial that has reached these values."""
        if self._is_ours(trial):
            tell(self.study, trial.number, TrialState.COMPLETE, values)

    def prune(self, trial: FrozenTrial) -> None:
        """End a trial that was stopped early."""
        if self._is_ours(trial):
            tell(self.study, trial.number, TrialState.PRUNED)

    def _is_ours(self, trial: FrozenTrial) -> bool:
        """Whether it still runs; another machine that missed our heartbeat has failed it otherwise."""
        current = self.storage.get_trial(trial_id(trial))
        if current.state.is_finished():
            log.warning(f"Trial {trial.number} was ended by another process, which took this one for dead")
        return not current.state.is_finished()

    def beat(self) -> None:
        """Say to other machines that this process lives."""
        self.study.set_user_attr(self.owner.heartbeat_key, now(self.storage))

    def beat_if_due(self) -> None:
        """Say so from time to time; cheap enough to be called all the time."""
        if time.monotonic() - self._beaten_at >= HEARTBEAT_SECONDS:
            self._beaten_at = time.monotonic()
            self.beat()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Inside, which takes as long as a batch of trials, a thread says so from time to time."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT_SECONDS):
                # a database that can't be reached now may be next time
                with suppress(StorageInternalError, SQLAlchemyError):
                    self.beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
