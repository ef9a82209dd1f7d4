"""Messages at the start and at the end of a search."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna.study import Study
from optuna.trial import TrialState

from bert_ft import layout
from bert_ft.atomic_file import write
from bert_ft.compat.hydra import quoted
from bert_ft.errors import OutageError, in_one_line
from bert_ft.search.results import outputs
from bert_ft.search.settings import SearchSettings
from bert_ft.search.study.opened_study import OpenedStudy
from bert_ft.search.study.outages import stop_waiting
from bert_ft.search.study.trial_queue import TrialQueue, is_lost, num_claimed

log = logging.getLogger(__name__)


def say_time_is_up(opened: OpenedStudy, settings: SearchSettings, queue: TrialQueue) -> None:
    """Print how to continue, if ``hydra.sweeper.timeout`` ended the search."""
    trials = opened.study.get_trials(deepcopy=False)
    num_ended = sum(trial.state.is_finished() and not is_lost(trial) for trial in trials)
    if settings.timeout is not None and num_ended < queue.n_trials:
        print(
            f"\nTime is up: hydra.sweeper.timeout={settings.timeout:g} seconds have passed, with {num_ended} of "
            f"{queue.n_trials} trials done. Continue with:\n  {resume_command(opened, settings)}"
        )


def conclude_if_possible(opened: OpenedStudy, settings: SearchSettings) -> None:
    """Do what ``conclude`` does, unless the database or the disk can't be used."""
    try:
        conclude(opened, settings)
    except (OutageError, OSError) as error:
        log.warning(in_one_line(error))


def say_interrupted(opened: OpenedStudy, settings: SearchSettings) -> None:
    """Print how to resume an interrupted search."""
    stop_waiting()
    command = resume_command(opened, settings)
    print(
        f"\nInterrupted. Unfinished trials will be run again when you resume with:\n  {command}",
        flush=True,
    )


def announce(opened: OpenedStudy, queue: TrialQueue) -> None:
    """Log the number of trials to run, and where the study is."""
    trials = opened.study.get_trials(deepcopy=False)
    where = f"study {opened.study.study_name}, folder {opened.folder}"
    num_done = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    if num_claimed(trials) >= queue.n_trials and not any(
        trial.state == TrialState.RUNNING for trial in trials
    ):
        log.info(
            f"Nothing to run: the study has {num_claimed(trials)} trials, and hydra.sweeper.n_trials={queue.n_trials}; "
            f"{where}"
        )
    elif num_done:
        log.info(f"Resuming the search with {num_done} of {queue.n_trials} trials done; {where}")
    else:
        log.info(f"Starting a search of {queue.n_trials} trials; {where}")


def resume_command(opened: OpenedStudy, settings: SearchSettings) -> str:
    """Return the command of the search; the folder is added if it doesn't name the study and its storage."""
    command = opened.command
    if not (settings.study_name and settings.storage) and "hydra.sweep.dir=" not in command:
        command += f" {shlex.quote(f'hydra.sweep.dir={quoted(str(opened.folder))}')}"
    return command


def conclude(opened: OpenedStudy, settings: SearchSettings) -> None:
    """Log and write the results."""
    found = results(opened.study)
    if found is None:
        log.info("No trial has been completed")
    else:
        write(Path(opened.folder, layout.RESULTS_FILE), OmegaConf.to_yaml(OmegaConf.create(found)).encode())
        if "best_value" in found:
            log.info(f"Best {opened.objective}: {found['best_value']:.6g} with {found['best_params']}")
        else:
            log.info(f"Trials that no other trial dominates: {len(found['solutions'])}")
    page = outputs.write(opened.study, opened.folder) if settings.report else None
    if page is not None:
        log.info(f"Report: {page}")
    if found is not None:
        print(f"\n{outputs.verdict(opened.study)}")


def results(study: Study) -> dict[str, Any] | None:
    """Return the best parameters and values as Hydra's plugin writes them; ``None`` if no trial is complete."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return None
    if len(study.directions) == 1:
        best = study.best_trial
        return {"name": "optuna", "best_params": best.params, "best_value": best.value}
    solutions = [{"params": dict(trial.params), "values": list(trial.values)} for trial in study.best_trials]
    return {"name": "optuna", "solutions": solutions}
