"""What the pre-training stage prints: its texts before it, and what it reached after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bert_ft.data.pretraining_texts import PretrainingTexts


def print_texts(texts: PretrainingTexts, console: Console | None = None) -> None:
    """How many texts the stage sees, and what was kept from it."""
    said = f"Pre-training on {len(texts.train):,} texts of {texts.origin}; {len(texts.held_out):,} others are held out"
    if texts.includes_evaluation_texts:
        said += (
            "; the texts of validation and test rows are among them (pretrain.include_evaluation_texts=true)"
        )
    elif texts.num_left_out:
        said += f"; {texts.num_left_out:,} were left out, which validation or test rows have, too"
    (console or Console()).print(Text(said), soft_wrap=True)


def print_pretraining(
    record: Mapping[str, Any], folder: Path, report: Path | None = None, console: Console | None = None
) -> None:
    """What was reached on the held-out texts, and where everything is.

    Args:
        record: ``metrics.json`` of the stage.
        folder: where it lies.
        report: the page of a stage that ran alone.
        console: to print to.
    """
    console = console or Console()
    before, after = record["val_before"], record["val"]
    table = Table(title="Pre-training, held-out texts", title_justify="left")
    for heading in ("", *(["before"] if before else []), "after"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, value in after.items():
        table.add_row(name, *([_number(before.get(name))] if before else []), _number(value))
    console.print(table)
    facts = {
        "pre-training": f"{record['fit_seconds']:.0f} s in {record['precision']['effective']}; {record['stopped']}"
    }
    if record["from_cache"]:
        facts["pre-training"] = f"taken from {record['from_cache']}"
    if (folder / "model").is_dir():  # else it is in the cache
        facts |= {
            "run": str(folder),
            "encoder": str(folder / "model"),
            "look inside": f"tensorboard --logdir {folder}",
        }
    if report is not None:
        facts["report"] = str(report)
    for name, fact in facts.items():
        console.print(Text.assemble((f"{name:>12}  ", "bold"), fact), soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.0f}"
