"""Trials through Hydra's other launchers (joblib, submitit, ray), which take a batch and return all its results at once."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, Trial

from bert_ft.compat.hydra import quoted, returned
from bert_ft.compat.optuna import trial_id
from bert_ft.errors import SearchError, UserError, in_one_line
from bert_ft.search.processes import start_of
from bert_ft.search.settings import SearchSettings
from bert_ft.search.study.opened_study import OpenedStudy
from bert_ft.search.study.trial_queue import FailedDrawError, TrialQueue, is_lost
from bert_ft.search.trials.failures import FailureCount
from bert_ft.search.trials.launched_task import OUTCOME
from bert_ft.search.trials.progress import Progress
from bert_ft.search.trials.trial_link import VARIABLE, TrialAddress
from bert_ft.search.trials.trial_process import outcome

Overrides = Callable[[dict[str, Any]], tuple[list[str], list[str]]]

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 0.5
# their errors mean that a worker has ended
_OF_LAUNCHERS = {"joblib", "submitit", "ray", "concurrent"}


def run_in_batches(
    launcher: Launcher,
    compose: Callable[[Sequence[str]], DictConfig],
    opened: OpenedStudy,
    queue: TrialQueue,
    overrides: Overrides,
    settings: SearchSettings,
    trial_ended: Callable[[FrozenTrial], None],
) -> None:
    """Run trials, ``settings.n_jobs`` at a time, until none is left.

    ``overrides`` returns the stored and the complete overrides of a trial from its values; ``trial_ended`` is called with
    each trial that has ended.

    Raises:
        SearchError: too many failed, or the launcher can't run them.
    """
    ends_at = time.monotonic() + (settings.timeout or float("inf"))
    failures = FailureCount(settings.max_failure_rate, queue.n_trials)
    with Progress(opened.study, queue.n_trials, opened.objective) as progress:
        try:
            while time.monotonic() < ends_at:
                queue.beat()
                batch, ended = _claim(queue, settings.n_jobs)
                if batch:
                    outcomes = _launch(launcher, compose, opened, queue, batch, overrides)
                    for trial, found in zip(batch, outcomes, strict=True):
                        queue.end(queue.frozen(trial), found)
                ended += map(queue.frozen, batch)
                ended += queue.equal.ended() if queue.equal else []
                if not ended:
                    if queue.equal is None or not queue.equal.are_left:
                        return
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                for frozen in ended:
                    if not is_lost(frozen):
                        failures.add(frozen)
                    trial_ended(frozen)
                    progress.ended(frozen)
                failures.check()
        except BaseException:
            _kill_own(queue)
            queue.lose_own("the search was interrupted")
            raise


def _claim(queue: TrialQueue, n_jobs: int) -> tuple[list[Trial], list[FrozenTrial]]:
    """Return the trials to run, and those that can't be composed."""
    batch: list[Trial] = []
    failed: list[FrozenTrial] = []
    for _ in range(n_jobs):
        try:
            trial = queue.next()
        except FailedDrawError as error:
            failed.append(error.trial)
            continue
        if trial is None:
            break
        batch.append(trial)
    return batch, failed


def _launch(
    launcher: Launcher,
    compose: Callable[[Sequence[str]], DictConfig],
    opened: OpenedStudy,
    queue: TrialQueue,
    batch: list[Trial],
    overrides: Overrides,
) -> list[dict[str, Any]]:
    """Run a batch and return its outcomes. Its folders have the numbers of its trials, if these are consecutive."""
    jobs = []
    search = (os.getpid(), start_of(os.getpid()))
    for worker, trial in enumerate(batch):
        shown, complete = overrides(trial.params)
        address = TrialAddress(opened.url, opened.study.study_name, trial_id(trial), time.time(), search)
        address = address.with_pruner_of(compose(complete))
        # a launcher sets the variable while the task runs
        link = f"++hydra.job.env_set.{VARIABLE}={quoted(address.to_text())}"
        jobs.append([*complete, f"hydra.sweep.subdir={quoted(str(trial.number))}", link])
        queue.note(trial, worker=worker, overrides=shown, folder=str(opened.folder / str(trial.number)))
    results: Sequence[JobReturn | None] = [None] * len(batch)
    with queue.beating():
        try:
            results = launcher.launch(jobs, initial_job_idx=batch[0].number)
        except UserError:
            raise
        except Exception as error:
            if type(error).__module__.split(".")[0] not in _OF_LAUNCHERS:
                raise SearchError(f"hydra/launcher: can't run trials: {in_one_line(error)}") from error
            log.warning(f"The launcher has lost a worker ({type(error).__name__}); its trials are run again")
            _wait_for_processes(queue, batch)
    return [_outcome(queue, *pair) for pair in zip(batch, results, strict=True)]


def _outcome(queue: TrialQueue, trial: Trial, result: JobReturn | None) -> dict[str, Any]:
    stored = queue.frozen(trial).user_attrs.get(OUTCOME)
    if stored is not None:
        return dict(stored)
    if result is None:
        return {"lost": "its worker was killed"}
    value = returned(result)
    if result.status == JobStatus.FAILED and not isinstance(value, BaseException):
        value = RuntimeError(str(value))
    return outcome(value, len(queue.study.directions))


def _wait_for_processes(queue: TrialQueue, batch: Sequence[Trial]) -> None:
    """Wait for the trials of this machine that still run after the launcher has given up on their batch."""
    while any(
        OUTCOME not in (noted := queue.frozen(trial).user_attrs) and _process_of(noted) is not None
        for trial in batch
    ):
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _process_of(noted: dict[str, Any]) -> psutil.Process | None:
    """Return the process of a trial on this machine, if it is running."""
    pid = noted.get("pid")
    if pid is None or noted.get("host") != socket.gethostname() or start_of(pid) != noted.get("pid_started"):
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def _kill_own(queue: TrialQueue) -> None:
    """Kill this search's workers that a launcher has left running."""
    found = psutil.Process().children(recursive=True)
    for noted in queue.own():
        if (process := _process_of(noted)) is not None:
            found += [process, *process.children(recursive=True)]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
