"""The columns of a data report's table of splits, in the console and on the page of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# heading → path of the value in the report as a dictionary, and its format
COLUMNS = {
    "rows": ("num_rows", ",d"),
    "tokens: mean": ("lengths.mean", ".1f"),
    "median": ("lengths.p50", ".0f"),
    "95%": ("lengths.p95", ".0f"),
    "longest": ("lengths.max", ",d"),
    "rows cut": ("truncated_ratio", ".1%"),
    "tokens lost": ("lost_ratio", ".1%"),
    "unknown tokens": ("unknown_ratio", ".1%"),
    "tokens per word": ("tokens_per_word", ".2f"),
    "duplicates": ("num_duplicates", ",d"),
    "leaks": ("num_leaks", ",d"),
    "near leaks": ("num_near_leaks", ",d"),
}


def shown_counts(report: Mapping[str, Any]) -> dict[str, str]:
    """Return heading → text of a ``SplitReport`` as a dictionary; a dash for what an older record lacks."""
    found = {}
    for heading, (path, form) in COLUMNS.items():
        value: Any = report
        for name in path.split("."):
            value = None if value is None else value.get(name)
        found[heading] = "-" if value is None else format(value, form)
    return found
