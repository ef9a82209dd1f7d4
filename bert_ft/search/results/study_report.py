"""Write the results of a study: page, pictures, table and best settings."""

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
from bert_ft.search.results.answers import answers
from bert_ft.search.results.importance import importances
from bert_ft.search.results.next_space import NAME, next_space
from bert_ft.search.results.pictures import StudyView, plots
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.statistics import Statistics, statistics_of
from bert_ft.search.results.study_log import StudyLog, read_study
from bert_ft.search.results.trials_csv import trials_csv

_PASSWORD = re.compile(r"(://[^:/@\s]+:)[^@\s]+(@)")  # in a database address within a command


def folder_of(study: Study, given: str | None) -> Path:
    """Return the folder to write to: the ``given`` one, else the folder of the study's sweep.

    Raises:
        ConfigError: none is given, and the study records none, or one that doesn't exist.
    """
    if given is not None:
        return Path(given)
    folder = study.user_attrs.get("folder")
    if folder is None:
        raise ConfigError(f"folder: required, since study_name={study.study_name} doesn't record one")
    if not Path(folder).is_dir():  # moved, or on another machine
        raise ConfigError(
            f"folder: required, since {folder}, the folder of study_name={study.study_name}, doesn't exist"
        )
    return Path(folder)


def write_study_report(study: Study, folder: Path, *, is_running: bool = False) -> Path:
    """Write ``study.html``, ``study/*.png``, ``trials.csv`` and, if a trial is complete, ``best.yaml``.

    Returns the page's path. During the search (``is_running``) the spread of the importances is left out. Files are replaced as a whole, so that a reader never finds half of one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = read_study(study)
    found = statistics_of(log)
    judged = importances(study, with_spread=not is_running)
    sections = _sections(StudyView(log, judged), found)
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
        facts=answers(log, found, judged, _write_next(log, folder))
        | tables.facts(log, found)
        | _where(log, folder),
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


def _sections(view: StudyView, found: Statistics) -> list[Section]:
    log = view.log
    behind: dict[str, list[tuple[str, Callable[[], Table]]]] = {
        "Progress": [("With further seeds", lambda: tables.further_seeds(log))],
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
    sections = []
    for title in dict.fromkeys([*drawn, *behind]):
        made = [table_or_reason(name, make) for name, make in behind.get(title, [])]
        sections.append(Section(title, "", [*draw(drawn.get(title, []), view), *made]))
    return sections


def _where(log: StudyLog, folder: Path) -> dict[str, str]:
    lines = {"folder": str(folder.resolve())}
    if log.storage is not None:
        lines["storage"] = log.storage
    if log.command is not None:
        lines["command"] = _PASSWORD.sub(r"\1***\2", log.command)
    return lines


def _write_next(log: StudyLog, folder: Path) -> Path | None:
    """Write the space of a next search where Hydra looks for it, and return its path; ``None`` if there is none yet."""
    space = next_space(log)
    if space is None:
        return None
    path = folder / layout.SEARCH_FOLDER / f"{NAME}.yaml"
    path.parent.mkdir(exist_ok=True)
    write(path, space.encode())
    return path


def _write_best(folder: Path, settings: str) -> None:
    """Write the best settings into the folder where Hydra looks for them, and a link to them beside the page."""
    (folder / layout.EXPERIMENT_FOLDER).mkdir(exist_ok=True)
    write(folder / layout.EXPERIMENT_FOLDER / layout.BEST_FILE, settings.encode())
    link = folder / layout.BEST_FILE
    if not link.is_symlink() and not link.exists():
        link.symlink_to(Path(layout.EXPERIMENT_FOLDER) / layout.BEST_FILE)
