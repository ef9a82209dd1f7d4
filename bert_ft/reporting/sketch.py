"""A picture that a report may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from bert_ft.reporting.run_log import RunLog


@dataclass(frozen=True)
class Sketch:
    """A picture that isn't drawn yet.

    Attributes:
        name: of its file, without the suffix.
        title: its heading.
        reading: how to read it, in a sentence.
        draw: gives it; raises ``NotLogged`` where the run lacks what it shows.
    """

    name: str
    title: str
    reading: str
    draw: Callable[[RunLog], Figure]
