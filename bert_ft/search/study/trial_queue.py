"""The next trial of a study that several processes, on several machines, share.

``n_trials`` counts over all of them: a process holds the study's lock while it reads the study and starts a trial if one
is left. A trial that was killed doesn't count; it is run again with the same values.
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
from bert_ft.errors import OutageError
from bert_ft.search.settings import LEFT_OUT
from bert_ft.search.study.equal_trials import SETTINGS, EqualTrials
from bert_ft.search.study.liveness import HEARTBEAT_SECONDS, Owner, is_alive
from bert_ft.search.study.storage import locked, now
from bert_ft.search.study.trial_counts import LOST, RETRY_OF, is_lost, num_claimed, run_again, to_run_again

# attributes of a trial
OWNER = "owner"
RETRIES = "retries"  # how often it was killed individually
AS_CONFIGURED = (
    "as_configured"  # of the trial with the configured values: the parameters that are drawn anyway
)
LAST_SEEN = (
    "last_seen"  # if its process died unnoticed: the last heartbeat, in seconds on this machine's clock
)

SECONDS_BETWEEN_LOOKS = 5.0  # for trials of dead processes

log = logging.getLogger(__name__)


def queue_as_configured(
    study: optuna.Study,
    storage: CachedStorage,
    values: Mapping[str, Any],
    drawn: Sequence[str],
    left_out: Sequence[str] = (),
) -> None:
    """Queue the configured values, if any, as the first trial of a study without trials, for comparison with the best.

    ``drawn`` are the other parameters, whose ranges don't contain the configured value, and ``left_out`` those whose
    configured value is null, which stays.
    """
    if not values:
        return
    marks: dict[str, Any] = {AS_CONFIGURED: list(drawn)}
    if left_out:
        marks[LEFT_OUT] = list(left_out)
    with locked(storage, study.study_name):
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(values), user_attrs=marks)


class FailedDrawError(Exception):
    """The configuration of ``trial``, which has failed, can't be composed."""

    def __init__(self, trial: FrozenTrial) -> None:
        super().__init__(f"Trial {trial.number} {trial.user_attrs['reason']}")
        self.trial = trial


class TrialQueue:
    """Starts trials of a study, whose values ``draw`` draws, and ends them.

    A trial whose own process was killed is run again at most ``retry`` times. With ``reuse`` a trial that
    draws the values of an earlier one isn't run: it takes the outcome of that one, see ``EqualTrials``.
    ``settings`` marks the trials of a start whose fixed settings differ from the first start's.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: CachedStorage,
        *,
        n_trials: int,
        retry: int,
        draw: Callable[[Trial], None],
        reuse: bool = False,
        settings: str | None = None,
    ) -> None:
        self.study = study
        self.storage = storage
        self.n_trials = n_trials
        self.retry = retry
        self.owner = Owner.this_process()
        self._draw = draw
        self._settings = settings
        self.equal = EqualTrials(self, settings) if reuse else None
        self._cleared_at = -float("inf")
        self._beaten_at = -float("inf")

    def next(self) -> Trial | None:
        """Return a trial for this process to run; ``None`` if none is left at the moment.

        Raises:
            FailedDrawError: its choices contradict each other; it has failed.
        """
        while (trial := self._drawn()) is not None:
            if self.equal is None or not self.equal.take(self.frozen(trial)):
                return trial
        return None

    def _drawn(self) -> Trial | None:
        with locked(self.storage, self.study.study_name):
            if time.monotonic() - self._cleared_at > SECONDS_BETWEEN_LOOKS:
                self.clear_away()
            trials = self._queued_again()
            if num_claimed(trials) >= self.n_trials:
                self.clear_away()  # a trial of a dead process may be left
                trials = self._queued_again()
            if num_claimed(trials) >= self.n_trials:
                return None
            trial = self.study.ask()
            trial.set_user_attr(OWNER, self.owner.to_dict())
            if self._settings is not None:
                trial.set_user_attr(SETTINGS, self._settings)
            try:
                self._draw(trial)
            except (HydraException, OmegaConfBaseException) as error:
                self.fail(self.frozen(trial), f"can't be composed: {' '.join(str(error).split())}")
                raise FailedDrawError(self.frozen(trial)) from error
            return trial

    def frozen(self, trial: Trial | FrozenTrial) -> FrozenTrial:
        """Return the trial as the database has it now."""
        return self.storage.get_trial(trial_id(trial))

    def note(self, trial: Trial, **attributes: Any) -> None:
        """Store attributes of a trial that starts, and the machine."""
        for name, value in {**attributes, "host": self.owner.host}.items():
            trial.set_user_attr(name, value)

    def set_attribute(self, trial: FrozenTrial, name: str, value: Any) -> None:
        self.storage.set_trial_user_attr(trial_id(trial), name, value)

    def clear_away(self) -> None:
        """Fail the trials of processes that have died; ``next``, which holds the study's lock, runs them again."""
        self._cleared_at = time.monotonic()
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not trials:
            return
        heartbeats, moment = self.study.user_attrs, now(self.storage)
        for trial in trials:
            owner = Owner.of(trial.user_attrs.get(OWNER))  # unknown: it died before it could set the owner
            if owner is not None and is_alive(owner, heartbeats, moment):
                continue
            log.info(f"Trial {trial.number} will be run again: its process has died")
            if owner and (seen := heartbeats.get(owner.heartbeat_key)):
                # that may be long ago, and the search hasn't run since
                self.set_attribute(trial, LAST_SEEN, time.time() - (moment - seen))
            self.lose(trial, "the process that ran the search died")

    def retry_failed(self) -> int:
        """Queue the failed trials once more, and return how many there are."""
        with locked(self.storage, self.study.study_name):
            trials = self.study.get_trials(deepcopy=False)
            again = run_again(trials)
            failed = [
                trial
                for trial in trials
                if trial.state == TrialState.FAIL and not is_lost(trial) and trial.number not in again
            ]
            self._queue_again(failed)
        return len(failed)

    def _queued_again(self) -> list[FrozenTrial]:
        """Queue the lost trials, and return all trials."""
        trials = self.study.get_trials(deepcopy=False)
        lost = to_run_again(trials)
        self._queue_again(lost)
        return self.study.get_trials(deepcopy=False) if lost else trials

    def _queue_again(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in trials:
            retries = trial.user_attrs.get(RETRIES, 0) if is_lost(trial) else 0
            attributes = {RETRY_OF: trial.number, RETRIES: retries}
            mark = {
                name: value for name, value in trial.user_attrs.items() if name in (AS_CONFIGURED, LEFT_OUT)
            }
            attributes |= attributes_to_repeat(trial)
            again = create_trial(state=TrialState.WAITING, system_attrs=attributes, user_attrs=mark)
            self.study.add_trial(again)

    def lose(self, trial: FrozenTrial, reason: str, *, killed_individually: bool = False) -> bool:
        """End a trial that was killed, and return whether it will be run again.

        ``killed_individually`` means that only its own process was killed, not the whole search.
        """
        if not self._is_ours(trial):
            return False
        retries = trial.system_attrs.get(RETRIES, 0) + killed_individually
        again = retries <= self.retry
        if again:
            self.set_attribute(trial, LOST, True)
            self.set_attribute(trial, RETRIES, retries)
        self.fail(trial, reason if retries < 2 else f"{reason}, {retries} times")
        return again

    def lose_own(self, reason: str) -> None:
        """End the trials that this process runs; the next search on the study runs them again."""
        for trial in self._own():
            self.lose(trial, reason)

    def own(self) -> list[dict[str, Any]]:
        """Return the attributes of each trial that this process runs."""
        return [trial.user_attrs for trial in self._own()]

    def _own(self) -> list[FrozenTrial]:
        ours, running = self.owner.to_dict(), (TrialState.RUNNING,)
        trials = self.study.get_trials(deepcopy=False, states=running)
        return [trial for trial in trials if trial.user_attrs.get(OWNER) == ours]

    def fail(self, trial: FrozenTrial, reason: str) -> None:
        """End a trial that isn't run again, and store the reason."""
        if self._is_ours(trial):
            self.set_attribute(trial, "reason", reason)
            tell(self.study, trial.number, TrialState.FAIL)

    def complete(self, trial: FrozenTrial, values: Sequence[float]) -> None:
        """End a trial with these values."""
        if self._is_ours(trial):
            tell(self.study, trial.number, TrialState.COMPLETE, values)

    def prune(self, trial: FrozenTrial) -> None:
        """End a trial that was pruned."""
        if self._is_ours(trial):
            tell(self.study, trial.number, TrialState.PRUNED)

    def end(self, trial: FrozenTrial, outcome: Mapping[str, Any]) -> bool:
        """End a trial with ``values``, ``pruned``, or a ``reason`` why it failed or was ``lost``.

        Return whether it counts; a trial that will be run again doesn't.
        """
        if "values" in outcome:
            self.complete(trial, outcome["values"])
        elif "pruned" in outcome:
            self.prune(trial)
        elif "lost" in outcome:
            return not self.lose(trial, outcome["lost"], killed_individually=True)
        else:
            self.fail(trial, outcome["reason"])
        return True

    def _is_ours(self, trial: FrozenTrial) -> bool:
        """Return whether it still runs; another machine that missed our heartbeats may have failed it."""
        is_finished = self.frozen(trial).state.is_finished()
        if is_finished:
            log.warning(
                f"Trial {trial.number} was already closed by another process that assumed this one had died"
            )
        return not is_finished

    def beat(self) -> None:
        """Store the current time, which shows other machines that this process is alive."""
        self.study.set_user_attr(self.owner.heartbeat_key, now(self.storage))

    def beat_if_due(self) -> None:
        """Call ``beat`` every ``HEARTBEAT_SECONDS``; cheap enough for a loop."""
        if time.monotonic() - self._beaten_at >= HEARTBEAT_SECONDS:
            self._beaten_at = time.monotonic()
            self.beat()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Call ``beat`` from a thread while the block runs, which may take as long as a batch of trials."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT_SECONDS):
                # the database may be unreachable now, and back the next time
                with suppress(StorageInternalError, SQLAlchemyError, OutageError):
                    self.beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
