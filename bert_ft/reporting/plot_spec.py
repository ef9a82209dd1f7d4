"""A picture that a report may have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from matplotlib.figure import Figure

Log = TypeVar("Log")  # what it is drawn from: a run, or a search


@dataclass(frozen=True)
class PlotSpec(Generic[Log]):
    """A picture that isn't drawn yet.

    Attributes:
        name: name of its file, without the suffix.
        title: its heading.
        reading: a sentence on how to read it.
        draw: draws it; raises ``NotLogged`` if the log lacks its values.
    """

    name: str
    title: str
    reading: str
    draw: Callable[[Log], Figure]


def plot(title: str, reading: str) -> Callable[[Callable[[Log], Figure]], PlotSpec[Log]]:
    """Return a decorator that makes a drawing function the ``PlotSpec`` of that name."""
    return lambda draw: PlotSpec(draw.__name__, title, reading, draw)
