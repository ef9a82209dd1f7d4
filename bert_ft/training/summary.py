"""Print a stage's data before training, and its results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bert_ft import layout
from bert_ft.data.data_report import DataReport
from bert_ft.data.pretraining_texts import PretrainingTexts
from bert_ft.optim.groups import GroupRow
from bert_ft.tasks.thresholds import THRESHOLDS
from bert_ft.training.kept_files import size_line

MAX_LABEL_ROWS = 20
MAX_METRICS = 4  # headings beside each other in a terminal of 80 columns
MAX_THRESHOLDS = 5


def print_data_report(report: DataReport, notes: Sequence[str], console: Console | None = None) -> None:
    """Print tables of the splits and labels, then all warnings and notes."""
    console = console or Console()
    console.print(_table("Data", _transposed(report.rows())))
    labels = report.label_rows()
    console.print(_table("Labels", labels[:MAX_LABEL_ROWS]))
    if len(labels) > MAX_LABEL_ROWS:
        console.print(f"… and {len(labels) - MAX_LABEL_ROWS} more labels (data_report.json has them all)")
    for sentence in (*notes, *report.warnings):
        console.print(
            Text(f"• {sentence}", style="yellow"), soft_wrap=True
        )  # an override is pasted as one line


def print_texts_report(
    report: Mapping[str, Any], notes: Sequence[str], console: Console | None = None
) -> None:
    """Print all warnings and notes on unlabeled texts."""
    for sentence in (*notes, *report["warnings"]):
        (console or Console()).print(Text(f"• {sentence}", style="yellow"), soft_wrap=True)


def print_groups(rows: Sequence[GroupRow], console: Console | None = None) -> None:
    """Print the optimizer's parameter groups, from the embeddings up."""
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


def print_texts(texts: PretrainingTexts, console: Console | None = None) -> None:
    """Print how many texts the stage reads, and how many were excluded."""
    said = f"Pre-training on {len(texts.train):,} {'pieces' if texts.num_in_pieces else 'texts'} of {texts.origin}; {len(texts.held_out):,} others are held out"
    if texts.includes_evaluation_texts:
        said += (
            "; the texts of validation and test rows are among them (pretrain.include_evaluation_texts=true)"
        )
    elif texts.num_left_out:
        said += f"; {texts.num_left_out:,} were left out, since validation or test rows have the same text"
    if texts.num_in_pieces:
        said += f"; {texts.num_in_pieces:,} texts are longer than data.max_length and were cut into pieces"
    if texts.lost_ratio:
        said += f"; {texts.lost_ratio:.1%} of their tokens are cut off by data.max_length"
    (console or Console()).print(Text(said), soft_wrap=True)


def print_result(
    record: Mapping[str, Any], folder: Path, report: Path | None = None, console: Console | None = None
) -> None:
    """Print the results of fine-tuning, the weights they belong to, and the paths of its files.

    Args:
        record: content of ``metrics.json``.
        folder: folder of the run.
        report: the report's page.
        console: console to print to.
    """
    console = console or Console()
    baseline = record.get("baseline", {})
    splits = {"validation": record["val"], "test": record["test"] or {}}
    splits |= {f"{layout.WITHOUT_TEXT} ({name})": values for name, values in baseline.items()}
    metrics = dict.fromkeys(name for values in splits.values() for name in values)
    rows = [
        {"split": name} | {metric: f"{values[metric]:.4f}" if metric in values else "" for metric in metrics}
        for name, values in splits.items()
        if values
    ]
    console.print(_table("Result", rows if len(metrics) <= MAX_METRICS else _transposed(rows)))
    kept = record["checkpoint"]
    weights = "the last weights" if kept["path"] is None else f"kept by {record['objective']['metric']}"
    averaged = "" if record["weights"] == "raw" else f" ({record['weights']})"
    calibration = record.get("calibration") or {}
    facts = {
        "weights": f"{weights}{averaged}, after {layout.counted(kept['epoch'], 'epoch')}, step {kept['step']}",
        **({"calibrated": _calibrated(calibration)} if calibration.get("is_used") else {}),
        **_thresholds(calibration),
        "training": _training(record),
        **_places(folder, "model"),
    }
    _print_facts(console, facts, report)


def print_pretraining(
    record: Mapping[str, Any], folder: Path, report: Path | None = None, console: Console | None = None
) -> None:
    """Print the results of pre-training on held-out texts, and the paths of its files; see ``print_result``."""
    console = console or Console()
    before, after = record["val_before"], record["val"]
    rows = [
        {"": name} | ({"before": _number(before.get(name))} if before else {}) | {"after": _number(value)}
        for name, value in after.items()
    ]
    console.print(_table("Pre-training, held-out texts", rows, headings=("", "after")))
    from_cache = record["from_cache"]
    facts = {"pre-training": f"taken from {from_cache}" if from_cache else _training(record)}
    if (folder / layout.MODEL_FOLDER).is_dir():  # else it is in the cache
        facts |= _places(folder, "encoder")
    _print_facts(console, facts, report)


def print_resume(path: Path, step: int, console: Console | None = None) -> None:
    """Print where a run is resumed."""
    (console or Console()).print(Text(f"resuming at step {step}, from {path}"), soft_wrap=True)


def print_advice(sentences: Sequence[str], console: Console | None = None) -> None:
    """Print what the run says about itself."""
    if sentences:
        (console or Console()).print("\nWhat stood out", style="bold")
    for sentence in sentences:
        (console or Console()).print(Text(f"• {sentence}", style="yellow"), soft_wrap=True)


def print_size(folder: Path, console: Console | None = None) -> None:
    """Print the disk space of a finished run, and which parts of it may be deleted."""
    _print_facts(console or Console(), {"disk": size_line(folder)}, None)


def _thresholds(calibration: Mapping[str, Any]) -> dict[str, str]:
    found = calibration.get(THRESHOLDS)
    if not found:
        return {}
    shown = ", ".join(
        f"{name} {of['threshold']:.4g} ({layout.counted(of['positives'], 'row')})"
        for name, of in list(found.items())[:MAX_THRESHOLDS]
    )
    more = f", … {len(found) - MAX_THRESHOLDS} more in metrics.json" if len(found) > MAX_THRESHOLDS else ""
    return {"thresholds": f"{shown}{more}; in the test and in predictions, not in validation"}


def _training(record: Mapping[str, Any]) -> str:
    return f"{record['fit_seconds']:.0f} s in {record['precision']['effective']}; {record['stopped']}"


def _calibrated(calibration: Mapping[str, Any]) -> str:
    return (
        f"logits divided by {calibration['temperature']:.2f}; validation loss {_number(calibration['loss_before'])} → "
        f"{_number(calibration['loss'])}"
    )


def _places(folder: Path, name_of_model: str) -> dict[str, str]:
    return {
        "run": str(folder),
        name_of_model: str(folder / layout.MODEL_FOLDER),
        "look inside": f"tensorboard --logdir {shlex.quote(str(folder))}",
    }


def _print_facts(console: Console, facts: Mapping[str, str], report: Path | None) -> None:
    for name, fact in {**facts, **({} if report is None else {"report": str(report)})}.items():
        console.print(Text.assemble((f"{name:>12}  ", "bold"), fact), soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def _transposed(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the table with a column for each row, since many headings don't fit into a terminal."""
    first, *headings = rows[0]
    return [{first: heading} | {row[first]: row[heading] for row in rows} for heading in headings]


def _table(title: str, rows: Sequence[Mapping[str, str]], headings: Sequence[str] = ()) -> Table:
    """Return a table with one line per row; all but the first column are aligned to the right."""
    table = Table(title=title, title_justify="left")
    for position, heading in enumerate(rows[0] if rows else headings):
        table.add_column(heading, justify="right" if position else "left")
    for row in rows:
        table.add_row(*row.values())
    return table
