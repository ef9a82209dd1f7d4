"""Trials through one of Hydra's other launchers (joblib, submitit, ray), which take a batch and return it whole."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, Trial, TrialState

from bert_ft.compat.hydra import quoted, returned
from bert_ft.compat.optuna import trial_id
from bert_ft.errors import SearchError
from bert_ft.search.settings import SearchSettings
from bert_ft.search.study.opened_study import OpenedStudy
from bert_ft.search.study.trial_queue import FailedDrawError, TrialQueue
from bert_ft.search.trials.failures import too_many
from bert_ft.search.trials.progress import Progress
from bert_ft.search.trials.trial_link import VARIABLE, TrialAddress
from bert_ft.search.trials.trial_process import outcome

log = logging.getLogger(__name__)


def run_in_batches(
    launcher: Launcher,
    compose: Callable[[Sequence[str]], DictConfig],
    opened: OpenedStudy,
    queue: TrialQueue,
    overrides: Callable[[dict[str, Any]], tuple[list[str], list[str]]],
    settings: SearchSettings,
    trial_ended: Callable[[FrozenTrial], None],
) -> None:
    """Run trials, ``settings.n_jobs`` at a time, until the study has as many as it shall have.

    Args:
        launcher: runs a batch.
        compose: gives the configuration of a job by its overrides.
        opened: the study.
        queue: gives trials.
        overrides: of a trial, by its values: what is stored, and what it runs with.
        settings: how many may fail, how long it may take, and how many trials are in a batch.
        trial_ended: called with each trial that has ended.

    Raises:
        SearchError: too many failed.
    """
    ends_at = time.monotonic() + (settings.timeout or float("inf"))
    num_ended = num_failed = 0
    with Progress(opened.study, queue.n_trials, opened.objective) as progress:
        try:
            while time.monotonic() < ends_at:
                queue.beat()
                batch, failed = _claim(queue, settings.n_jobs)
                if not batch and not failed:
                    return
                results = _launch(launcher, compose, opened, queue, batch, overrides) if batch else []
                told = (
                    _tell(queue, trial, result, len(opened.study.directions))
                    for trial, result in zip(batch, results, strict=True)
                )
                for ended in itertools.chain(failed, told):
                    num_ended += 1
                    num_failed += ended.state == TrialState.FAIL
                    trial_ended(ended)
                    progress.ended(ended)
                if too_many(num_failed, num_ended, settings.max_failure_rate, queue.n_trials):
                    raise SearchError(
                        f"{num_failed} of {num_ended} trials failed, which is more than "
                        f"hydra.sweeper.max_failure_rate={settings.max_failure_rate}; the last one: "
                        f"{ended.user_attrs.get('reason', '')}"
                    )
        except BaseException:
            queue.lose_own("the search was interrupted")
            raise


def _claim(queue: TrialQueue, n_jobs: int) -> tuple[list[Trial], list[FrozenTrial]]:
    """Trials to run, and those that failed before they could be."""
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
    overrides: Callable[[dict[str, Any]], tuple[list[str], list[str]]],
) -> list[JobReturn]:
    """The batch's results. A batch has its folders numbered as its trials are, if none lies between them."""
    jobs = []
    for worker, trial in enumerate(batch):
        shown, complete = overrides(trial.params)
        address = TrialAddress(opened.url, opened.study.study_name, trial_id(trial), time.time())
        address = address.with_pruner_of(compose(complete))
        # on a Hydra launcher's side this sets the variable while the task runs
        link = f"++hydra.job.env_set.{VARIABLE}={quoted(address.to_text())}"
        name = f"hydra.sweep.subdir={quoted(str(trial.number))}"
        jobs.append([*complete, name, link])
        attributes = {
            "worker": worker,
            "overrides": shown,
            "host": queue.owner.host,
            "folder": str(opened.folder / str(trial.number)),
        }
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
    with queue.beating():
        return list(launcher.launch(jobs, initial_job_idx=batch[0].number))


def _tell(
    queue: TrialQueue, trial: Trial, result: JobReturn, num_objectives: int
) -> optuna.trial.FrozenTrial:
    frozen = queue.storage.get_trial(trial_id(trial))
    came_back = returned(result)
    if result.status == JobStatus.FAILED and not isinstance(came_back, BaseException):
        came_back = RuntimeError(str(came_back))
    said = outcome(came_back, num_objectives)
    if "values" in said:
        queue.complete(frozen, said["values"])
    elif "pruned" in said:
        queue.prune(frozen)
    else:
        queue.fail(frozen, said["reason"])
    return queue.storage.get_trial(trial_id(trial))
