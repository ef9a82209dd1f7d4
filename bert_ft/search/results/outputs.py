"""Write the outputs of a search: after each trial, and for the whole study."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial

from bert_ft import layout
from bert_ft.search.results import best_settings
from bert_ft.search.results.kept_folders import is_here, keep_only_best
from bert_ft.search.results.ranking import front, ranked
from bert_ft.search.results.study_log import TrialLog, read_study

log = logging.getLogger(__name__)


def trial_ended(
    study: Study,
    trial: FrozenTrial,
    folder: Path | str,
    callbacks: Sequence[Callable[[Study, FrozenTrial], None]] = (),
) -> None:
    """Clean up after ``trial`` has ended, then call the study's callbacks; errors are only logged.

    This removes weights that aren't among the best, links ``model`` in the sweep's ``folder`` to the best
    ones, and adds the trial to TensorBoard's table of hyper-parameters if it isn't there.
    """
    try:
        known = read_study(study)
        keep_only_best(known, Path(folder))
        _add_to_hparams(known.trials[trial.number], known.objectives)
    except Exception:
        log.exception("after trial %s: cleaning up failed; the search continues", trial.number)
    for callback in callbacks:
        try:
            callback(study, trial)
        except Exception:
            name = type(callback).__name__
            log.exception("after trial %s: %s failed; the search continues", trial.number, name)


def write(study: Study, folder: Path | str, *, is_running: bool = False) -> Path | None:
    """Write the study's page, pictures, table and best settings, and return the page's path.

    Return ``None`` if that fails; the error is only logged, so that the search continues.
    """
    try:
        # loads matplotlib, which a search without a report doesn't need
        from bert_ft.search.results.study_report import write_study_report

        return write_study_report(study, Path(folder), is_running=is_running)
    except Exception:
        log.exception(
            "the report of the search failed; retry with python -m bert_ft.report %s storage=...",
            shlex.quote(f"study_name={study.study_name}"),
        )
        return None


def verdict(study: Study) -> str:
    """Return a search's last message: how certain its best trial is, what isn't measured, how to run it again."""
    from bert_ft.search.results.answers import NOT_MEASURED, confirmed, how_sure  # loads scipy

    log = read_study(study)
    best = ranked(log)[:1]
    if not best:
        return "No trial has a finite value."
    record = best_settings.read_record(best[0].folder)
    if len(log.objectives) == 1:
        parts = [f"T{how_sure(log)[1:]}"]
    else:
        values = zip(log.objectives, best[0].values or (), strict=True)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values)
        parts = [
            f"{len(front(log))} trials are dominated by no other; one of them is trial {best[0].number}: {shown}."
        ]
    if said := confirmed(log):
        parts.append(f"{said[0].upper()}{said[1:]}.")
    if log.objectives[0].startswith(layout.VAL):
        parts.append(f"Not measured: {NOT_MEASURED}\n  {best_settings.repeat_command(best[0], record)}")
    else:  # a task from outside this package
        settings = shlex.join(best_settings.overrides_of(best[0])) or "(nothing was set)"
        parts.append(f"Its settings:\n  {settings}")
    return "\n".join(parts)


def _add_to_hparams(trial: TrialLog, objectives: Sequence[str]) -> None:
    if trial.folder is None or not is_here(trial) or trial.state in ("running", "waiting"):
        return
    events = Path(trial.folder) / layout.TENSORBOARD_FOLDER
    if trial.state == "complete" and any(events.glob("events.*")):
        return  # a complete trial that logs to TensorBoard has written its own line
    if any(events.glob("*.search")):  # an earlier call has written it
        return
    from bert_ft.reporting.hparams import write_hparams

    values = dict(zip((f"{layout.SEARCH}{name}" for name in objectives), trial.values or (), strict=False))
    if trial.last_reported is not None:
        values[f"{layout.SEARCH}last_report"] = trial.last_reported[1]
        # in the column where complete trials have theirs, so that a pruned trial's row isn't empty
        split, _, name = objectives[0].partition("/")
        if name and trial.state == "pruned":
            values[f"{layout.KEPT}{split}_{name}"] = trial.last_reported[1]
    step = trial.steps or (trial.last_reported or (0,))[0]
    write_hparams(events, trial.params, values, trial.state, step)
