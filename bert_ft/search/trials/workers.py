"""Trials in processes of their own, each place refilled as soon as its trial has ended."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from bert_ft.compat.optuna import trial_id
from bert_ft.errors import SearchError
from bert_ft.search.settings import SearchSettings
from bert_ft.search.study.opened_study import OpenedStudy
from bert_ft.search.study.trial_queue import FailedDrawError, TrialQueue
from bert_ft.search.trials.failures import reason_of_exit, too_many, was_killed
from bert_ft.search.trials.fork_server import Ended, ForkServer, Message
from bert_ft.search.trials.progress import Progress
from bert_ft.search.trials.resources import Slot
from bert_ft.search.trials.trial_link import TrialAddress

WAIT_SECONDS = 0.5  # between two looks at the clock, while nothing happens
LEAST_SECONDS_BETWEEN_REPORTS = 60.0
MOST_OF_THE_TIME_FOR_REPORTS = 0.02
_REPORT = -1  # the number of the job that draws the report: trials have theirs from 0

log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A trial in its process."""

    trial: FrozenTrial
    slot: Slot
    started: float
    said: dict[str, Any] = field(default_factory=dict)


class Workers:
    """Runs the trials of a study until it has as many as it shall have.

    Args:
        server: runs jobs; started, and still preparing perhaps.
        opened: the study.
        queue: gives trials.
        slots: the places.
        overrides: of a trial, by its values: what is stored, and what it runs with.
        settings: how many may fail, and how long it may take.
        trial_ended: called with each trial that has ended, once its place has been filled again.
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
        self._max_failure_rate = settings.max_failure_rate
        self._ends_at = time.monotonic() + (settings.timeout or float("inf"))
        self._running: dict[int, _Running] = {}
        self._num_ended = self._num_failed = 0
        self._last_reason = ""
        self._is_prepared = False
        self._free_since = {slot.number: time.time() for slot in slots}
        self._report_started = time.monotonic()
        self._next_report = (
            time.monotonic() + LEAST_SECONDS_BETWEEN_REPORTS if settings.report else float("inf")
        )

    def run(self) -> None:
        """Run trials until none is left.

        Raises:
            SearchError: too many failed.
            KeyboardInterrupt: the search was interrupted; what ran will run again.
        """
        with (
            _interrupted_by_signals(),
            Progress(self._opened.study, self._queue.n_trials, self._opened.objective) as progress,
        ):
            try:
                self._go_on(progress)
            except BaseException:
                self._lose_all()
                raise

    def _go_on(self, progress: Progress) -> None:
        while True:
            self._queue.beat_if_due()
            is_more = self._fill()
            if not is_more and not self._running:
                return
            for event in self._server.wait(WAIT_SECONDS):
                if isinstance(event, Message):
                    self._hear(event)
                elif event.job == _REPORT:
                    self._report_drawn()
                else:
                    self._end(event, progress)
            self._draw_report_if_due()
            progress.tick()

    def _fill(self) -> bool:
        """Give each free place a trial; whether there may be more."""
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
        trial.set_user_attr("worker", slot.number)
        trial.set_user_attr("overrides", shown)
        trial.set_user_attr("host", self._queue.owner.host)
        address = TrialAddress(
            self._opened.url, self._opened.study.study_name, trial_id(trial), self._free_since[slot.number]
        )
        content = {"number": trial.number, "overrides": complete, "address": address.to_text()}
        self._running[trial.number] = _Running(
            self._queue.storage.get_trial(trial_id(trial)), slot, time.monotonic()
        )
        self._server.submit(trial.number, {**content, "slot": asdict(slot)})

    def _hear(self, message: Message) -> None:
        if message.job is None:
            if "error" in message.content:
                raise SearchError(message.content["error"])
            self._is_prepared = True
        elif message.job in self._running:
            running = self._running[message.job]
            running.said |= message.content
            for name in ("folder", "pid", "pid_started"):
                if name in message.content:
                    self._queue.storage.set_trial_user_attr(
                        trial_id(running.trial), name, message.content[name]
                    )

    def _end(self, event: Ended, progress: Progress) -> None:
        running = self._running.pop(event.job)
        counts = self._tell(running, event.code)
        self._free.append(running.slot)
        self._free_since[running.slot.number] = time.time()
        ended = self._queue.storage.get_trial(trial_id(running.trial))
        if counts:
            self._count(ended)
        self._fill()  # before anything that can wait
        self._trial_ended(ended)
        progress.ended(ended)

    def _tell(self, running: _Running, code: int) -> bool:
        """Store what came of the trial; whether it has come to its own end."""
        said, trial = running.said, running.trial
        if "values" in said:
            self._queue.complete(trial, said["values"])
        elif "pruned" in said:
            self._queue.prune(trial)
        elif "reason" in said:
            self._queue.fail(trial, said["reason"])
        elif was_killed(code):
            return not self._queue.lose(trial, reason_of_exit(code), killed_individually=True)
        else:
            self._queue.fail(trial, reason_of_exit(code))
        return True

    def _count(self, ended: FrozenTrial) -> None:
        """A trial that has come to its own end; too many that failed end the search."""
        self._num_ended += 1
        if ended.state == TrialState.FAIL:
            self._num_failed += 1
            self._last_reason = ended.user_attrs.get("reason", "")
        if too_many(self._num_failed, self._num_ended, self._max_failure_rate, self._queue.n_trials):
            raise SearchError(
                f"{self._num_failed} of {self._num_ended} trials failed, which is more than "
                f"hydra.sweeper.max_failure_rate={self._max_failure_rate}; the last one: {self._last_reason}"
            )

    def _lose_all(self) -> None:
        """End what runs, to be run again by the next search on the study."""
        self._server.stop()
        self._queue.lose_own("the search was interrupted")
        for running in self._running.values():
            self._trial_ended(self._queue.storage.get_trial(trial_id(running.trial)))

    def _draw_report_if_due(self) -> None:
        if time.monotonic() < self._next_report or _REPORT in self._server.jobs or not self._num_ended:
            return
        self._report_started = time.monotonic()
        name, folder = self._opened.study.study_name, str(self._opened.folder)
        self._server.submit(_REPORT, {"report": name, "url": self._opened.url, "folder": folder})

    def _report_drawn(self) -> None:
        seconds = time.monotonic() - self._report_started
        rest = max(LEAST_SECONDS_BETWEEN_REPORTS, seconds / MOST_OF_THE_TIME_FOR_REPORTS)
        self._next_report = time.monotonic() + rest


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """A batch system that ends the process is heard like an interrupt at the terminal."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
