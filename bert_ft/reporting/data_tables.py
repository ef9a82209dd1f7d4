"""The data report as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number


def splits(log: RunLog) -> Table:
    """Rows and lengths of the data's splits."""
    if log.data_report is None:
        raise NotLogged("the run wrote no data_report.json")
    columns = {
        "rows": ("num_rows",),
        "mean tokens": ("lengths", "mean"),
        "95%": ("lengths", "p95"),
        "longest": ("lengths", "max"),
        "cut off": ("truncated_ratio",),
        "copies": ("num_duplicates",),
        "leaks": ("num_leaks",),
        "near leaks": ("num_near_leaks",),
    }
    rows = []
    for name, split in log.data_report.get("splits", {}).items():
        values = [_inside(split, path) for path in columns.values()]
        rows.append(
            [
                Cell(name),
                *(
                    number(value, 3 if "ratio" in path[-1] else 1)
                    for value, path in zip(values, columns.values(), strict=True)
                ),
            ]
        )
    reading = f"Lengths in tokens; the limit is {log.data_report.get('max_length')}."
    return Table("Splits", reading, ["split", *columns], rows)


def label_counts(log: RunLog) -> Table:
    """Rows of each label in each split."""
    if log.data_report is None:
        raise NotLogged("the run wrote no data_report.json")
    counts = {
        name: split.get("label_counts", {}) for name, split in log.data_report.get("splits", {}).items()
    }
    labels = list(dict.fromkeys(label for each in counts.values() for label in each))
    rows = [[Cell(label), *(number(each.get(label, 0)) for each in counts.values())] for label in labels]
    return Table("Labels", "", ["label", *counts], rows)


def _inside(node: Mapping[str, Any], path: Sequence[str]) -> Any:
    for name in path:
        node = node.get(name, {})
    return node if node != {} else None
