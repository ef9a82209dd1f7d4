"""The rows of a file that a model was measured on, beside their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bert_ft.layout import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SHOWN = 5  # unknown labels in a sentence


@dataclass(frozen=True)
class EvaluatedRows:
    """Where scored rows came from.

    Attributes:
        file: the file.
        model: the model as the user named it.
        against: the other model; ``None`` without one.
        rows: ``(scored,)`` numbers in the file, from 1 without the header.
        texts: ``(scored,)``.
        reasons: for each row of the file why it isn't scored, or ``None``.
        unknown: row of the file → its label, for labels that the model doesn't know.
        columns: key → the column that it names: ``group_by``, ``cluster_by``.
        values: key → its value in each scored row.
        notes: sentences on how the file was read.
    """

    file: str
    model: str
    against: str | None
    rows: NDArray[np.int64]
    texts: Sequence[str]
    reasons: Sequence[str | None]
    unknown: Mapping[int, str]
    columns: Mapping[str, str]
    values: Mapping[str, Sequence[str]]
    notes: Sequence[str]

    @property
    def left_out(self) -> Counter[str]:
        """Why rows aren't scored → how many."""
        return Counter(reason for reason in self.reasons if reason is not None)

    def unknown_counts(self) -> list[tuple[str, int, int]]:
        """Return each label that the model doesn't know, its number of rows and its first row, the most frequent first."""
        first: dict[str, int] = {}
        for row, name in self.unknown.items():
            first.setdefault(name, row)
        return [(name, count, first[name]) for name, count in Counter(self.unknown.values()).most_common()]

    def sentences(self) -> list[str]:
        """Return what to know about the rows: how they were read, and which aren't scored."""
        found = list(self.notes)
        if total := self.left_out.total():
            why = ", ".join(f"{reason}: {count:,}" for reason, count in self.left_out.most_common())
            found.append(f"{counted(total, 'row')} of {len(self.reasons):,} can't be scored ({why})")
        if self.unknown:
            counts = self.unknown_counts()
            shown = ", ".join(
                f"{name!r} ({counted(count, 'row')}, first row {first})"
                for name, count, first in counts[:MOST_SHOWN]
            )
            more = ", …" if len(counts) > MOST_SHOWN else ""
            found.append(f"labels that the model doesn't know: {shown}{more}")
        return found
