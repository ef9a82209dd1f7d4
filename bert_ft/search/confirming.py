"""Train the best and the configured settings of a finished search with further seeds: neither trials of the study, nor pruned."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from optuna.trial import TrialState

from bert_ft.compat.hydra import returned
from bert_ft.search.results.confirmation import CONFIGURED, NUM_SEEDS, attribute, of_trial, why_not
from bert_ft.search.results.kept_folders import HEAVY
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.study_log import NOT_CONFIRMED, read_study
from bert_ft.search.settings import SearchSettings
from bert_ft.search.study.liveness import Owner, is_alive
from bert_ft.search.study.opened_study import OpenedStudy
from bert_ft.search.study.storage import locked, now
from bert_ft.search.study.trial_counts import num_claimed
from bert_ft.search.study.trial_queue import TrialQueue
from bert_ft.search.trials.failures import reason_of_exit, was_killed
from bert_ft.search.trials.fork_server import Ended, ForkServer, Message
from bert_ft.search.trials.resources import Slot
from bert_ft.search.trials.trial_process import OUTCOMES, outcome

FOLDER = "confirm"  # in the search's folder
CONFIRMING = "confirming"  # attribute of the study: the process that does it
_WAIT_SECONDS = 0.5
_FIRST_JOB = -2  # numbers of the fork server's jobs, which trials and the report don't use

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run to do."""

    name: str  # of the study's attribute with its result
    folder: Path  # a new one, unless the process that runs it says another
    overrides: list[str]  # of its job


Outcome = tuple[Run, dict[str, Any]]
Runner = Callable[[Sequence[Run]], Iterator[Outcome]]


def confirm(
    opened: OpenedStudy,
    settings: SearchSettings,
    queue: TrialQueue,
    overrides: Callable[[dict[str, Any]], tuple[list[str], list[str]]],
    seed: int | None,
    runner: Runner,
) -> None:
    """Do the runs that aren't stored yet, and store their values; nothing if the search isn't finished.

    ``overrides`` returns the stored and the complete overrides of a trial from its values, and ``seed`` is the configured one.
    A killed run is repeated at most ``settings.retry`` times, and again when the search is resumed.
    """
    if settings.confirm == "false" or (settings.confirm == "auto" and seed is None):
        return
    study = opened.study
    known = read_study(study)
    if not _is_finished(queue):
        reason: str | None = "not all trials have ended"
    else:
        reason = "the task has no key `seed`" if seed is None else why_not(known, settings.confirm)
    study.set_user_attr(NOT_CONFIRMED, reason)
    if reason is not None or seed is None:
        return
    best = ranked(known)[0]
    todo = []
    for further in range(seed + 1, seed + 1 + NUM_SEEDS):
        for label, params in ((of_trial(best), dict(best.params)), (CONFIGURED, {})):
            words = [word for word in overrides(params)[1] if not word.startswith("seed=")]
            folder = _unused(opened.folder / FOLDER / f"{label.replace(' ', '_')}_seed_{further}")
            name = attribute(label, further, opened.settings)
            subdir = f"hydra.sweep.subdir={FOLDER}/{folder.name}"
            todo.append(Run(name, folder, [*words, f"seed={further}", subdir]))
    if not any(run.name not in study.user_attrs for run in todo) or not _claim(opened, queue):
        return
    try:
        for _ in range(settings.retry + 1):
            missing = [run for run in todo if run.name not in study.user_attrs]
            if not missing:
                break
            log.info(
                f"Training trial {best.number}'s settings and the configured ones with further seeds: {len(missing)} runs"
            )
            for run, found in runner(missing):
                _store(opened, run, found)
    finally:
        study.set_user_attr(CONFIRMING, None)


def _unused(folder: Path) -> Path:
    """Return the folder, with a number added if an interrupted run has left one of its name."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}_{number}")
    return found


def _is_finished(queue: TrialQueue) -> bool:
    """Return whether all trials have ended, those of other processes too."""
    trials = queue.study.get_trials(deepcopy=False)
    is_running = any(trial.state == TrialState.RUNNING for trial in trials)
    return num_claimed(trials) >= queue.n_trials and not is_running


def _claim(opened: OpenedStudy, queue: TrialQueue) -> bool:
    """Return whether this process does it, rather than another one of the same study."""
    with locked(opened.storage, opened.study.study_name):
        attributes = opened.study.user_attrs
        owner = Owner.of(attributes.get(CONFIRMING))
        if owner not in (None, queue.owner) and is_alive(owner, attributes, now(opened.storage)):
            log.info("Another process of this search trains the best settings with further seeds")
            return False
        opened.study.set_user_attr(CONFIRMING, queue.owner.to_dict())
        return True


def _store(opened: OpenedStudy, run: Run, found: dict[str, Any]) -> None:
    """Store the outcome of a run, unless it was killed, and remove its weights."""
    folder = Path(found.get("folder", run.folder))
    for name in HEAVY:
        shutil.rmtree(folder / name, ignore_errors=True)
    if "lost" in found:
        log.warning(f"{run.name}: {found['lost']}; it is run again")
        return
    values = found.get("values")
    record = {"value": None if values is None else values[0], "reason": found.get("reason")}
    record |= {"folder": str(folder)}
    opened.study.set_user_attr(run.name, record)
    shown = f"{opened.objective} {values[0]:.6g}" if values is not None else f"failed: {found.get('reason')}"
    log.info(f"{run.name.partition(' ')[2]}: {shown}")


def forked(server: ForkServer, slots: Sequence[Slot], queue: TrialQueue) -> Runner:
    """Return a runner of forked processes, one at a time in each of ``slots``."""

    def run(runs: Sequence[Run]) -> Iterator[Outcome]:
        free, waiting = list(slots), deque(runs)
        running: dict[int, tuple[Run, Slot, dict[str, Any]]] = {}
        job = _FIRST_JOB
        while waiting or running:
            queue.beat_if_due()
            while free and waiting:
                each, slot = waiting.popleft(), free.pop(0)
                running[job] = (each, slot, {})
                number = len(queue.study.get_trials(deepcopy=False)) - job
                content = {"number": number, "overrides": each.overrides, "address": None}
                server.submit(job, {**content, "slot": asdict(slot)})
                job -= 1
            for event in server.wait(_WAIT_SECONDS):
                if isinstance(event, Message) and event.job in running:
                    running[event.job][2].update(event.content)
                elif isinstance(event, Ended) and event.job in running:
                    each, slot, found = running.pop(event.job)
                    free.append(slot)
                    if not OUTCOMES & found.keys():
                        found["lost" if was_killed(event.code) else "reason"] = reason_of_exit(event.code)
                    yield each, found

    return run


def launched(launcher: Launcher, n_jobs: int, queue: TrialQueue) -> Runner:
    """Return a runner through another of Hydra's launchers, ``n_jobs`` at a time."""

    def run(runs: Sequence[Run]) -> Iterator[Outcome]:
        for start in range(0, len(runs), n_jobs):
            batch = runs[start : start + n_jobs]
            with queue.beating():
                first = len(queue.study.get_trials(deepcopy=False)) + start
                results: Sequence[JobReturn] = launcher.launch(
                    [each.overrides for each in batch], initial_job_idx=first
                )
            for each, result in zip(batch, results, strict=True):
                yield each, outcome(returned(result), 1)

    return run
