"""Trials in their own processes; a worker that becomes free gets the next trial at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from bert_ft.compat.optuna import trial_id
from bert_ft.errors import SearchError
from bert_ft.search.settings import SearchSettings
from bert_ft.search.study.opened_study import OpenedStudy
from bert_ft.search.study.trial_queue import FailedDrawError, TrialQueue
from bert_ft.search.trials.failures import FailureCount, reason_of_exit, was_killed
from bert_ft.search.trials.fork_server import Ended, ForkServer, Message
from bert_ft.search.trials.progress import Progress
from bert_ft.search.trials.resources import Slot
from bert_ft.search.trials.trial_link import TrialAddress
from bert_ft.search.trials.trial_process import OUTCOMES

WAIT_SECONDS = 0.5  # between two passes of the loop while nothing happens
LEAST_SECONDS_BETWEEN_REPORTS = 60.0
MOST_OF_THE_TIME_FOR_REPORTS = 0.02
_REPORT = -1  # job number of the report: trials start at 0

log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A trial in its process."""

    trial: FrozenTrial
    slot: Slot
    messages: dict[str, Any] = field(default_factory=dict)


class Workers:
    """Runs the trials of a study, one at a time in each of ``slots``, until none is left.

    The server has been started, but may still be preparing. ``overrides`` returns the stored and the complete
    overrides of a trial from its values; ``trial_ended`` is called with each trial that has ended, after its
    worker has got the next one.
    """

    def __init__(
        self,
        server: ForkServer,
        opened: OpenedStudy,
        queue: TrialQueue,
        slots: list[Slot],
        overrides: Callable[[dict[str, Any]], tuple[list[str], list[str]]],
        settings: SearchSettings,
        trial_ended: Callable[[FrozenTrial], None],
    ) -> None:
        self._server = server
        self._opened = opened
        self._queue = queue
        self._free = list(slots)
        self._overrides = overrides
        self._trial_ended = trial_ended
        self._failures = FailureCount(settings.max_failure_rate, queue.n_trials)
        self._ends_at = time.monotonic() + (settings.timeout or float("inf"))
        self._running: dict[int, _Running] = {}
        self._free_since = {slot.number: time.time() for slot in slots}
        self._report_started = time.monotonic()
        wait = LEAST_SECONDS_BETWEEN_REPORTS if settings.report else float("inf")
        self._next_report = self._report_started + wait

    def run(self) -> None:
        """Run trials until none is left.

        Raises:
            SearchError: too many failed.
            KeyboardInterrupt: the search was interrupted; its running trials will be run again.
        """
        study = self._opened.study
        with Progress(study, self._queue.n_trials, self._opened.objective) as progress:
            try:
                self._loop(progress)
            except BaseException:
                self._lose_all()
                raise

    def _loop(self, progress: Progress) -> None:
        while True:
            self._queue.beat_if_due()
            self._end_equal(progress)
            is_more = self._fill()
            if not is_more and not self._running and not self._waits_for_others():
                self._end_equal(progress)
                return
            for event in self._server.wait(WAIT_SECONDS):
                if isinstance(event, Message):
                    self._receive(event)
                elif event.job == _REPORT:
                    self._report_drawn()
                else:
                    self._end(event, progress)
            self._draw_report_if_due()
            progress.tick()

    def _end_equal(self, progress: Progress) -> None:
        """Count the trials that needn't be run, since another one has the same settings."""
        for ended in self._queue.equal.ended() if self._queue.equal else ():
            self._count(ended)
            self._trial_ended(ended)
            progress.ended(ended)

    def _waits_for_others(self) -> bool:
        """Return whether a trial has the settings of one that another process still runs."""
        is_time_left = time.monotonic() <= self._ends_at
        return is_time_left and self._queue.equal is not None and self._queue.equal.are_left

    def _fill(self) -> bool:
        """Give each free worker a trial, and return whether there may be more."""
        while self._free:
            if time.monotonic() > self._ends_at:
                return False
            try:
                trial = self._queue.next()
            except FailedDrawError as failed:
                log.warning(str(failed))
                self._count(failed.trial)
                self._trial_ended(failed.trial)
                continue
            if trial is None:
                return False
            self._start(trial)
        return True

    def _start(self, trial: optuna.Trial) -> None:
        slot = self._free.pop(0)
        shown, complete = self._overrides(trial.params)
        self._queue.note(trial, worker=slot.number, overrides=shown)
        url, name = self._opened.url, self._opened.study.study_name
        address = TrialAddress(url, name, trial_id(trial), self._free_since[slot.number]).to_text()
        self._running[trial.number] = _Running(self._queue.frozen(trial), slot)
        content = {"number": trial.number, "overrides": complete, "address": address, "slot": asdict(slot)}
        self._server.submit(trial.number, content)

    def _receive(self, message: Message) -> None:
        if message.job is None:
            raise SearchError(message.content["error"])
        if message.job in self._running:
            running = self._running[message.job]
            running.messages |= message.content
            for name in ("folder", "pid", "pid_started"):
                if name in message.content:
                    self._queue.set_attribute(running.trial, name, message.content[name])

    def _end(self, event: Ended, progress: Progress) -> None:
        running = self._running.pop(event.job)
        counts = self._store_outcome(running, event.code)
        self._free.append(running.slot)
        self._free_since[running.slot.number] = time.time()
        ended = self._queue.frozen(running.trial)
        if counts:
            self._count(ended)
        self._fill()  # before anything that can wait
        self._trial_ended(ended)
        progress.ended(ended)

    def _store_outcome(self, running: _Running, code: int) -> bool:
        """End the trial in the study, and return whether it counts: not if it will be run again."""
        found = running.messages
        if not OUTCOMES & found.keys():
            found = {"lost" if was_killed(code) else "reason": reason_of_exit(code)}
        return self._queue.end(running.trial, found)

    def _count(self, ended: FrozenTrial) -> None:
        self._failures.add(ended)
        self._failures.check()

    def _lose_all(self) -> None:
        """End the running trials; the next search on the study runs them again."""
        self._server.stop()
        self._queue.lose_own("the search was interrupted")
        for running in self._running.values():
            self._trial_ended(self._queue.frozen(running.trial))

    def _draw_report_if_due(self) -> None:
        is_due = time.monotonic() >= self._next_report and self._failures.num_ended > 0
        if is_due and _REPORT not in self._server.jobs:
            self._report_started = time.monotonic()
            name, folder = self._opened.study.study_name, str(self._opened.folder)
            self._server.submit(_REPORT, {"report": name, "url": self._opened.url, "folder": folder})

    def _report_drawn(self) -> None:
        seconds = time.monotonic() - self._report_started
        rest = max(LEAST_SECONDS_BETWEEN_REPORTS, seconds / MOST_OF_THE_TIME_FOR_REPORTS)
        self._next_report = time.monotonic() + rest
