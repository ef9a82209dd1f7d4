"""Trials through Hydra's other launchers (joblib, submitit, ray), which take a batch and return all its results at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, Trial

from bert_ft.compat.hydra import quoted, returned
from bert_ft.compat.optuna import trial_id
from bert_ft.search.settings import SearchSettings
from bert_ft.search.study.opened_study import OpenedStudy
from bert_ft.search.study.trial_queue import FailedDrawError, TrialQueue
from bert_ft.search.trials.failures import FailureCount
from bert_ft.search.trials.progress import Progress
from bert_ft.search.trials.trial_link import VARIABLE, TrialAddress
from bert_ft.search.trials.trial_process import outcome

Overrides = Callable[[dict[str, Any]], tuple[list[str], list[str]]]


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
        SearchError: too many failed.
    """
    ends_at = time.monotonic() + (settings.timeout or float("inf"))
    failures = FailureCount(settings.max_failure_rate, queue.n_trials)
    with Progress(opened.study, queue.n_trials, opened.objective) as progress:
        try:
            while time.monotonic() < ends_at:
                queue.beat()
                batch, ended = _claim(queue, settings.n_jobs)
                if not batch and not ended:
                    return
                results = _launch(launcher, compose, opened, queue, batch, overrides) if batch else []
                for trial, result in zip(batch, results, strict=True):
                    queue.end(queue.frozen(trial), _outcome(result, len(opened.study.directions)))
                for frozen in [*ended, *map(queue.frozen, batch)]:
                    failures.add(frozen)
                    trial_ended(frozen)
                    progress.ended(frozen)
                failures.check()
        except BaseException:
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
) -> list[JobReturn]:
    """Run a batch. Its folders have the numbers of its trials, provided that these are consecutive."""
    jobs = []
    for worker, trial in enumerate(batch):
        shown, complete = overrides(trial.params)
        address = TrialAddress(opened.url, opened.study.study_name, trial_id(trial), time.time())
        address = address.with_pruner_of(compose(complete))
        # a launcher sets the variable while the task runs
        link = f"++hydra.job.env_set.{VARIABLE}={quoted(address.to_text())}"
        jobs.append([*complete, f"hydra.sweep.subdir={quoted(str(trial.number))}", link])
        queue.note(trial, worker=worker, overrides=shown, folder=str(opened.folder / str(trial.number)))
    with queue.beating():
        return list(launcher.launch(jobs, initial_job_idx=batch[0].number))


def _outcome(result: JobReturn, num_objectives: int) -> dict[str, Any]:
    value = returned(result)
    if result.status == JobStatus.FAILED and not isinstance(value, BaseException):
        value = RuntimeError(str(value))
    return outcome(value, num_objectives)
