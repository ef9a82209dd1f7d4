"""What a search keeps and shows: after each trial, and of the whole study."""

from __future__ import annotations

import logging
import shlex
import socket
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from bert_ft.search.results.kept_folders import keep_only_best
from bert_ft.search.results.study_log import TrialLog, read_study

log = logging.getLogger(__name__)


def trial_ended(study: Study, trial: FrozenTrial, folder: Path | str) -> None:
    """Put the folders in order after ``trial`` has ended; quick, and no reason for the search to stop.

    The weights of trials that aren't among the best are removed, ``model`` in the sweep's ``folder`` leads to those of
    the best one, and the trial gets its line in TensorBoard's table of hyper-parameters, if it has none of its own.
    """
    try:
        known = read_study(study)
        keep_only_best(known, Path(folder))
        _add_to_hparams(known.trials[trial.number], known.objectives)
    except Exception:
        log.exception("after trial %s: its folder couldn't be put in order; the search goes on", trial.number)


def write(study: Study, folder: Path | str) -> Path | None:
    """Write the study's page, pictures, table and best settings into ``folder``; the page's path.

    ``None`` where that fails, which the log tells: the search itself goes on.
    """
    try:
        # loads matplotlib, which a search that only runs doesn't need
        from bert_ft.search.results.study_report import write_study_report

        return write_study_report(study, Path(folder))
    except Exception:
        log.exception(
            "the report of the search couldn't be drawn; python -m bert_ft.report %s storage=... tries again",
            shlex.quote(f"study_name={study.study_name}"),
        )
        return None


def _add_to_hparams(trial: TrialLog, objectives: Any) -> None:
    """A complete trial has written its own line, if it logs to TensorBoard."""
    if trial.folder is None or trial.host not in (None, socket.gethostname()):
        return
    events = Path(trial.folder) / "tensorboard"
    if trial.state not in ("complete", "pruned", "failed", "lost"):
        return
    if trial.state == "complete" and any(events.glob("events.*")):
        return
    if any(events.glob("*.search")):  # of an earlier call
        return
    from bert_ft.reporting.hparams import write_hparams

    values = dict(zip((f"search/{name}" for name in objectives), trial.values or (), strict=False))
    if trial.last_reported is not None:
        values["search/last_report"] = trial.last_reported[1]
    step = trial.steps or (trial.last_reported or (0,))[0]
    write_hparams(events, trial.params, values, trial.state, step)
