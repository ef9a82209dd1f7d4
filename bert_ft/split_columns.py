"""The columns of a data report's table of splits, in the console and on the page of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# heading → path of the value in the report as a dictionary, and its format
COLUMNS = {
    "rows": ("num_rows", ",d"),
    "tokens: mean": ("lengths.mean", ".1f"),
    "median": ("lengths.p50", ".0f"),
    "95%": ("lengths.p95", ".0f"),
    "longest": ("lengths.max", ",d"),
    "windows": ("num_windows", ",d"),
    "most windows": ("most_windows", ",d"),
    "rows cut": ("truncated_ratio", ".1%"),
    "tokens lost": ("lost_ratio", ".1%"),
    "unknown tokens": ("unknown_ratio", ".1%"),
    "tokens per word": ("tokens_per_word", ".2f"),
    "duplicates": ("num_duplicates", ",d"),
    "leaks": ("num_leaks", ",d"),
    "near leaks": ("num_near_leaks", ",d"),
}


_NONE = "-"
_IF_ANY = ("windows", "most windows")  # of long texts, if they are windowed


def shown_counts(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return heading → text of each ``SplitReport`` as a dictionary; a dash for what an older record lacks."""
    found = [
        {heading: _shown(report, path, form) for heading, (path, form) in COLUMNS.items()}
        for report in reports
    ]
    left_out = {heading for heading in _IF_ANY if all(row[heading] == _NONE for row in found)}
    return [{heading: text for heading, text in row.items() if heading not in left_out} for row in found]


def _shown(report: Mapping[str, Any], path: str, form: str) -> str:
    value: Any = report
    for name in path.split("."):
        value = None if value is None else value.get(name)
    return _NONE if value is None else format(value, form)
