"""A picture that a report may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from matplotlib.figure import Figure

Log = TypeVar("Log")  # what it is drawn from: a run, or a search


@dataclass(frozen=True)
class PlotSpec(Generic[Log]):
    """A picture that isn't drawn yet.

    Attributes:
        name: of its file, without the suffix.
        title: its heading.
        reading: how to read it, in a sentence.
        draw: gives it; raises ``NotLogged`` where the log lacks what it shows.
    """

    name: str
    title: str
    reading: str
    draw: Callable[[Log], Figure]
