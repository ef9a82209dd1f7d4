"""The report of a run, written into its folder."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from bert_ft import layout
from bert_ft.reporting import html, label_set_report, number_report, run_tables, validation_tables
from bert_ft.reporting.advice import advice_for
from bert_ft.reporting.command import repeat_command, working_folder
from bert_ft.reporting.html import Page, Section, table_or_reason
from bert_ft.reporting.judged_pictures import judged_pictures
from bert_ft.reporting.monitor_files import Arrays, Snapshot
from bert_ft.reporting.pictures import LeftOut, Picture, draw, plot_specs_of
from bert_ft.reporting.run_log import RunLog, read_run
from bert_ft.reporting.table import Table

# section → its tables, which follow its pictures
TABLES: dict[str, list[tuple[str, Callable[[RunLog], Table]]]] = {
    "Pre-training": [("Held-out texts", run_tables.held_out), ("Stage", run_tables.stage_settings)],
    "Training": [("Where the time went", run_tables.phases)],
    "Validation": [
        ("Most frequent mistakes", validation_tables.frequent_mistakes),
        ("Scores by class", validation_tables.scores_by_class),
        ("Thresholds", label_set_report.thresholds),
        ("Highest losses", validation_tables.top_losses),
    ],
    "Label sets": [
        ("Scores by label", label_set_report.scores_by_label),
        ("Thresholds", label_set_report.thresholds),
        ("Most frequent confusions", label_set_report.frequent_confusions),
        ("Highest losses", validation_tables.top_losses),
    ],
    "Numbers": [
        ("Scores by target", number_report.scores_by_target),
        ("Highest losses", validation_tables.top_losses),
    ],
    "Data": [("Splits", run_tables.splits), ("Labels", run_tables.label_counts)],
    "Environment": [("Machine and versions", run_tables.environment)],
    "Logged values": [("Everything that was logged", run_tables.all_scalars)],
}
STAGE_SECTIONS = ("Pre-training",)
VALIDATION_SECTIONS = ("Validation", "Label sets", "Numbers")  # of one task each
# in a reader's order: how good it is and what it mistakes, how it came about, what is inside, and what was used
ORDER = (
    *VALIDATION_SECTIONS,
    *(
        "Pre-training",
        "Training",
        "Data",
        "Representations",
        "Attention",
        "Layers",
        "Environment",
        "Logged values",
    ),
)
LABEL_SECTIONS = (*VALIDATION_SECTIONS, "Data")  # a standalone stage has none
TASK_SECTIONS = (*VALIDATION_SECTIONS, "Representations")  # shown if the task lists them
EARLIER_TASK = {"report_sections": ("Validation", "Representations")}  # of runs that didn't record theirs


def write_report(folder: Path) -> Path:
    """Write the report of the run in ``folder``; see ``write_page`` and ``read_run``."""
    return write_page(read_run(folder))


def write_page(log: RunLog) -> Path:
    """Write ``report.html`` and the pictures in ``report/`` into the run's folder; return the page's path."""
    return html.write_page(
        _page(log), log.folder / layout.REPORT_FILE, log.folder / layout.REPORT_PICTURE_FOLDER
    )


def _sections(log: RunLog) -> Iterator[Section]:
    plots = plot_specs_of(log)
    for title in ORDER:
        if title in TASK_SECTIONS and title not in (log.task or EARLIER_TASK)["report_sections"]:
            continue
        if title not in plots and title in (
            STAGE_SECTIONS if log.stage is None else LABEL_SECTIONS if log.is_stage else ()
        ):
            continue
        parts: list[Picture | Table | LeftOut] = [*draw(plots.get(title, []), log)]
        parts += [table_or_reason(name, make, log) for name, make in _tables(title, log)]
        if title in VALIDATION_SECTIONS and log.test is not None and log.metrics is not None:
            yield _test_section(title, log)
        yield Section(title, _note(title, log), parts)


def _test_section(title: str, log: RunLog) -> Section:
    """Return what the validation's section of the task has, of the test split; without curves over training."""
    of_test = log.of_test()
    pictures = [replace(spec, name=f"test_{spec.name}") for spec in judged_pictures(title, of_test)]
    tables = [(name, make) for name, make in TABLES[title] if name != "Thresholds"]
    parts: list[Picture | Table | LeftOut] = [*draw(pictures, of_test)]
    parts += [table_or_reason(name, make, of_test) for name, make in tables]
    note = "Measured once, at the end, with the weights that were saved"
    if ((log.metrics or {}).get("calibration") or {}).get("is_used"):
        note += ", whose probabilities are calibrated (those of the validation are not)"
    return Section("Test", f"{note}.{_saved_rows(log.test)}", parts)


def _tables(title: str, log: RunLog) -> Iterator[tuple[str, Callable[[RunLog], Table]]]:
    """Yield the tables of a section; for classes, thresholds are an option that few runs have."""
    for name, make in TABLES.get(title, []):
        if title != "Validation" or name != "Thresholds" or label_set_report.has_thresholds(log):
            yield name, make


def _note(title: str, log: RunLog) -> str:
    """Return a note on the weights that a section shows, if it shows a single step."""
    snapshots: dict[str, Snapshot | None] = {
        **dict.fromkeys(VALIDATION_SECTIONS, log.validation or log.top_losses),
        "Representations": log.representations,
        "Attention": log.attention,
    }
    snapshot = snapshots.get(title)
    if snapshot is None:
        return ""
    which = "the kept checkpoint" if snapshot.is_kept else "the last one monitored"
    if not snapshot.is_kept and log.metrics is not None:
        which += ", not the kept checkpoint"
    note = f"Pictures and tables of a single step show step {snapshot.step:,}: {which}."
    return note + (_saved_rows(log.validation) if title in VALIDATION_SECTIONS else "")


def _saved_rows(snapshot: Snapshot[Arrays] | None) -> str:
    """Return a note if not all rows of a split were saved."""
    if snapshot is None:
        return ""
    saved, whole = len(snapshot.content["rows"]), int(snapshot.content["num_rows"])
    return (
        f" Confidence and calibration use {saved:,} of {whole:,} rows, evenly spaced."
        if saved < whole
        else ""
    )


def _page(log: RunLog) -> Page:
    report, model = log.data_report or {}, log.folder / layout.MODEL_FOLDER
    where = {"run": str(log.folder.resolve())} | ({"model": str(model.resolve())} if model.is_dir() else {})
    return Page(
        title=f"Run {log.folder.resolve().name}",
        facts=run_tables.facts(log) | where,
        results=table_or_reason("Metrics", run_tables.results, log),
        sections=list(_sections(log)),
        config=None
        if log.config is None
        else yaml.safe_dump(log.config, sort_keys=False, allow_unicode=True),
        command=repeat_command(log),
        working_folder=working_folder(log),
        notes=[*report.get("notes", []), *report.get("warnings", [])],
        damaged=log.damaged,
        advice=[each.sentence for each in advice_for(log).values()],
    )
