"""A report's table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bert_ft.reporting.table import Table

MOST_ROWS = 20


def print_table(
    table: Table, console: Console | None = None, *, columns: Sequence[int] | None = None, where: str = ""
) -> None:
    """Print a table; its texts aren't taken for markup.

    Args:
        table: the table.
        console: console to print to.
        columns: positions of the columns that are printed; ``None`` = all.
        where: the file that has all rows, if only the first are printed.
    """
    console = console or Console()
    chosen = range(len(table.columns)) if columns is None else columns
    shown = RichTable(title=Text(table.title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for position in chosen:
        is_number = bool(table.rows) and table.rows[0][position].is_number
        shown.add_column(
            Text(table.columns[position]), justify="right" if is_number else "left", no_wrap=is_number
        )
    for row in table.rows[:MOST_ROWS]:
        shown.add_row(*(Text(row[position].text) for position in chosen))
    console.print(shown)
    if len(table.rows) > MOST_ROWS:
        console.print(Text(f"… and {len(table.rows) - MOST_ROWS} more: {where}"), soft_wrap=True)
