"""What a run prints: the data report before training, and the result after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bert_ft.data.checks import DataReport
from bert_ft.optim.groups import GroupRow
from bert_ft.training.run import RunResult

MAX_LABEL_ROWS = 20


def print_data_report(report: DataReport, notes: Sequence[str], console: Console | None = None) -> None:
    """Tables of the splits and the labels, then every warning and note."""
    console = console or Console()
    console.print(_table("Data", _transposed(report.rows())))
    labels = report.label_rows()
    console.print(_table("Labels", labels[:MAX_LABEL_ROWS]))
    if len(labels) > MAX_LABEL_ROWS:
        console.print(f"… and {len(labels) - MAX_LABEL_ROWS} more labels (data_report.json has them all)")
    for sentence in (*notes, *report.warnings):
        console.print(Text(f"• {sentence}", style="yellow"))


def print_groups(rows: Sequence[GroupRow], console: Console | None = None) -> None:
    """The optimizer's groups, from the embeddings up."""
    table = [
        {
            "group": row.layer,
            "parameters": f"{row.num_parameters:,}",
            "lr": f"{row.lr:.3g}",
            "weight decay": f"{row.weight_decay:g}",
        }
        for row in rows
    ]
    (console or Console()).print(_table("Parameter groups", table))


def print_result(result: RunResult, report: Path | None = None, console: Console | None = None) -> None:
    """What was reached, on which weights, and where everything is."""
    console = console or Console()
    splits = {"validation": result.kept.val, "test": result.test or {}}
    metrics = dict.fromkeys(name for values in splits.values() for name in values)
    rows = [
        {"split": name} | {metric: f"{values[metric]:.4f}" for metric in metrics}
        for name, values in splits.items()
        if values
    ]
    console.print(_table("Result", rows))
    weights = "the last weights" if result.kept.checkpoint is None else f"kept by {result.metric}"
    averaged = "" if result.kept.weights == "raw" else f" ({result.kept.weights})"
    facts = {
        "weights": f"{weights}{averaged}, after {result.kept.epoch:g} epochs, step {result.kept.step}",
        "training": f"{result.fit_seconds:.0f} s in {result.precision}; {result.stopped}",
        "run": str(result.folder),
        "model": str(result.folder / "model"),
        "look inside": f"tensorboard --logdir {result.folder}",
        **({} if report is None else {"report": str(report)}),
    }
    for name, fact in facts.items():
        console.print(Text.assemble((f"{name:>12}  ", "bold"), fact), soft_wrap=True)


def _transposed(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The same table with a column for each row, headed by its first cell: many headings fit no terminal."""
    first, *headings = rows[0]
    return [{first: heading} | {row[first]: row[heading] for row in rows} for heading in headings]


def _table(title: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """One line a row, under the headings of the first; all but the first column to the right."""
    table = Table(title=title, title_justify="left")
    for position, heading in enumerate(rows[0] if rows else ()):
        table.add_column(heading, justify="right" if position else "left")
    for row in rows:
        table.add_row(*row.values())
    return table
