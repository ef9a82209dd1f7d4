"""What comes out of a study: its page, pictures, table and best settings, written into a folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from optuna.study import Study

from bert_ft import layout
from bert_ft.atomic_file import write
from bert_ft.errors import ConfigError
from bert_ft.reporting.html import Page, Section, table_or_reason, write_page
from bert_ft.reporting.pictures import draw
from bert_ft.reporting.table import Table
from bert_ft.search.results import best_settings, tables
from bert_ft.search.results.importance import importances
from bert_ft.search.results.pictures import StudyView, plots
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.statistics import statistics_of
from bert_ft.search.results.study_log import StudyLog, read_study, sweep_folder
from bert_ft.search.results.trials_csv import trials_csv


def folder_of(study: Study, given: str | None) -> Path:
    """Return where to write what comes out of the study: the folder that is ``given``, else that of its sweep.

    Raises:
        ConfigError: none is given, and the study has noted none, or one that isn't there.
    """
    if given is not None:
        return Path(given)
    folder = sweep_folder(study)
    if folder is None:
        raise ConfigError(f"folder: required, for study_name={study.study_name} has noted none of its own")
    if not folder.is_dir():  # moved, or of another machine
        raise ConfigError(
            f"folder: required, for {folder}, which study_name={study.study_name} wrote to, isn't there"
        )
    return folder


def write_study_report(study: Study, folder: Path) -> Path:
    """Write ``study.html``, ``study/*.png``, ``trials.csv`` and, once a trial is complete, ``best.yaml``; the page's path.

    Files are replaced as a whole, so that none is ever seen half written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = read_study(study)
    view = StudyView(log, importances(study))
    sections = _sections(view)
    write(folder / layout.TRIALS_FILE, trials_csv(log).encode())
    best = ranked(log)[:1]
    settings = command = None
    if best:
        record = best_settings.read_record(best[0].folder)
        command = best_settings.repeat_command(best[0], record)
        settings = best_settings.experiment(log, best[0], record, folder.resolve())
        _write_best(folder, settings)
    page = Page(
        title=f"Search {log.name}",
        facts=tables.facts(log, statistics_of(log)) | _where(log, folder),
        results=table_or_reason("Best trials", tables.best_trials, log),
        sections=sections,
        config=settings,
        command=command,
        working_folder=None,
        notes=[],
        damaged=[],
        subject=f"the best trial{f', {best[0].number}' if best else ''}",
        config_name=layout.BEST_FILE,
        no_config="no trial is complete yet",
        no_command="no trial is complete yet",
    )
    return write_page(page, folder / layout.STUDY_FILE, folder / layout.STUDY_PICTURE_FOLDER)


def _sections(view: StudyView) -> list[Section]:
    log, found = view.log, statistics_of(view.log)
    behind: dict[str, list[tuple[str, Callable[[], Table]]]] = {
        "Parameters": [
            ("Importance as numbers", lambda: tables.importance(log, view.importances)),
            ("At the edge", lambda: tables.at_the_edge(log)),
        ],
        "Workers": [("Time of the workers", lambda: tables.workers(log))],
        "Trials": [
            ("Trial statistics", lambda: tables.trial_statistics(log, found)),
            ("Failures", lambda: tables.failures(log)),
            ("All trials", lambda: tables.all_trials(log)),
        ],
    }
    drawn = plots(view)
    return [
        Section(
            title,
            "",
            [
                *draw(drawn.get(title, []), view),
                *(table_or_reason(name, make) for name, make in behind.get(title, [])),
            ],
        )
        for title in dict.fromkeys([*drawn, *behind])
    ]


_PASSWORD = re.compile(r"(://[^:/@\s]+:)[^@\s]+(@)")  # of an address within a command


def _where(log: StudyLog, folder: Path) -> dict[str, str]:
    lines = {"folder": str(folder.resolve())}
    if log.storage is not None:
        lines["storage"] = log.storage
    if log.command is not None:
        lines["command"] = _PASSWORD.sub(r"\1***\2", log.command)
    return lines


def _write_best(folder: Path, settings: str) -> None:
    """Where Hydra looks for it, and a link beside the page."""
    (folder / layout.EXPERIMENT_FOLDER).mkdir(exist_ok=True)
    write(folder / layout.EXPERIMENT_FOLDER / layout.BEST_FILE, settings.encode())
    link = folder / layout.BEST_FILE
    if not link.is_symlink() and not link.exists():
        link.symlink_to(Path(layout.EXPERIMENT_FOLDER) / layout.BEST_FILE)
