"""The page of an evaluation, and what the terminal shows of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from bert_ft import layout
from bert_ft.evaluation.evaluated_rows import EvaluatedRows
from bert_ft.evaluation.evaluation import Evaluation
from bert_ft.reporting import evaluation_tables as tables
from bert_ft.reporting import html
from bert_ft.reporting.evaluation_files import write_files
from bert_ft.reporting.html import Page, Section, table_or_reason
from bert_ft.reporting.judged_pictures import judged_pictures
from bert_ft.reporting.label_set_report import frequent_confusions
from bert_ft.reporting.monitor_files import Snapshot
from bert_ft.reporting.pictures import draw
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Table
from bert_ft.reporting.terminal import print_table
from bert_ft.reporting.validation_pictures import calibration_text
from bert_ft.tasks.confidence import JudgesRows
from bert_ft.tasks.judged_rows import judged_arrays

WITHOUT_EFFECT = ("output", "overwrite", "batch_size", "max_tokens", "accelerator")  # on the numbers
# what fits into a terminal of 80 columns
CLASS_COLUMNS = (0, 1, 3, 4, 5)  # of the table of classes: without the predicted rows
GROUP_COLUMNS = 4  # of the table of subgroups: name, rows and two metrics


def write_evaluation(
    found: Evaluation, rows: EvaluatedRows, folder: Path, *, settings: Mapping[str, Any]
) -> Path:
    """Write the page, its pictures, ``evaluation.json`` and the CSV files into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_files(found, rows, folder)
    page = evaluation_page(found, rows, settings)
    return html.write_page(page, folder / layout.EVALUATION_PAGE, folder / layout.EVALUATION_PICTURE_FOLDER)


def evaluation_page(found: Evaluation, rows: EvaluatedRows, settings: Mapping[str, Any]) -> Page:
    """Return everything on the page."""
    log, kind = _log(found), _kind(found)
    pictures = [] if log is None else list(draw(judged_pictures(kind, log), log))
    predictions: list[tuple[str, Callable[[], Table]]] = [
        ("Scores by class", lambda: tables.classes_table(found)),
        ("Hardest rows", lambda: tables.hardest_table(found, rows)),
    ]
    if kind == "Validation":
        predictions.insert(0, ("Most frequent mistakes", lambda: tables.mistakes_table(found)))
    elif kind == "Label sets" and log is not None:
        predictions.insert(0, ("Most frequent confusions", lambda: frequent_confusions(log)))
    sections = [
        Section(
            "Another model",
            "",
            [table_or_reason("Two models on the same rows", tables.comparison_table, found)],
        ),
        Section("Predictions", "", [*pictures, *(table_or_reason(*each) for each in predictions)]),
        Section("Subgroups", "", [table_or_reason("Subgroups", tables.groups_table, found, rows)]),
        Section(
            "Data",
            "",
            [
                tables.rows_table(found, rows),
                table_or_reason("Labels that the model doesn't know", tables.unknown_table, rows),
            ],
        ),
    ]
    return Page(
        title=f"Evaluation of {rows.model}",
        facts=facts(found, rows),
        results=tables.metrics_table(found),
        sections=sections,
        config=yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True),
        command=_command(settings),
        working_folder=str(Path.cwd()),
        notes=tables.sentences(found, rows),
        damaged=(),
        subject="the evaluation",
    )


def facts(found: Evaluation, rows: EvaluatedRows) -> dict[str, str]:
    """Return what was measured, on which rows."""
    known = {"model": rows.model, "rows": f"{len(found.scored):,} of {rows.file}"}
    if found.num_clusters:
        known["intervals"] = f"by {rows.columns['cluster_by']!r}: {found.num_clusters:,} groups of rows"
    known["in brackets"] = "95% intervals"
    known["guessing"] = tables.guess(found)
    if found.calibration is not None:
        known["calibration error"] = calibration_text(found.calibration)
    if found.comparisons:
        known["against"] = rows.against or ""
        known["comparison"] = found.comparisons[0].sentence("this model", "the other")
    return known


def print_evaluation(
    found: Evaluation, rows: EvaluatedRows, folder: Path, page: Path, console: Console | None = None
) -> None:
    """Print metrics, classes, subgroups and comparison, what to know about the rows, and where the rest is."""
    console = console or Console()
    print_table(tables.metrics_table(found), console)
    if found.classes:
        shown = tables.classes_table(found, digits=2)
        print_table(shown, console, columns=CLASS_COLUMNS, where=str(folder / "classes.csv"))
    if found.groups:
        shown = tables.groups_table(found, rows)
        print_table(shown, console, columns=range(GROUP_COLUMNS), where=str(folder / "groups.csv"))
    for each in found.comparisons:
        console.print(Text(f"• {each.sentence(rows.model, rows.against or '')}"), soft_wrap=True)
    for sentence in tables.sentences(found, rows):
        console.print(Text(f"• {sentence}", style="yellow"), soft_wrap=True)
    for name, fact in {**facts(found, rows), "page": str(page)}.items():
        if name != "comparison":
            console.print(Text.assemble((f"{name:>17}  ", "bold"), fact), soft_wrap=True)


def _command(settings: Mapping[str, Any]) -> str:
    """Return the command that repeats the evaluation; what doesn't change its numbers is left out."""
    given = {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT}
    words = [
        f"{name}={'[' + ','.join(map(str, value)) + ']' if isinstance(value, list) else value}"
        for name, value in given.items()
        if value is not None
    ]
    return " ".join(["python -m bert_ft.evaluate", *map(shlex.quote, words)])


def _kind(found: Evaluation) -> str:
    """Return the section of a run's report whose pictures fit."""
    return next(iter(found.scored.task.report_sections), "")


def _log(found: Evaluation) -> RunLog | None:
    """Return the rows as a run's report has them, from which pictures are drawn."""
    scored = found.scored
    if not isinstance(scored.task, JudgesRows):
        return None
    chosen, rows, labels = scored.with_class()
    if not len(chosen):
        return None
    arrays = judged_arrays(chosen.task, chosen.logits, labels, rows)  # type: ignore[arg-type]
    return RunLog(Path(), validation=Snapshot(0, True, arrays))
