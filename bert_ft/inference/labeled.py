"""The result of labeling a file, and what is printed about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bert_ft.evaluation.conformal import EMPTY_REASON
from bert_ft.inference.conformal_columns import LABEL_SET
from bert_ft.inference.read_texts import UNDECODABLE
from bert_ft.inference.scores import Scores
from bert_ft.layout import counted

REASON = "reason"  # the column


@dataclass(frozen=True)
class Labeled:
    """The result of labeling a file.

    Attributes:
        num_rows: number of rows in the file.
        reasons: why rows have no prediction → number of rows.
        num_empty_sets: rows with a prediction for which no label is likely enough; see ``abstain.sets``.
        promises: sentences on what is promised.
        scores: scores on the file's labels, if it has any.
        notes: sentences on things that a user might not expect.
    """

    num_rows: int
    reasons: Counter[str]
    scores: Scores | None
    notes: list[str]
    num_empty_sets: int = 0
    promises: tuple[str, ...] = ()

    def lines(self, target: Path | str) -> Iterator[str]:
        """Yield the lines to print about this result."""
        yield from self.notes
        yield from self.promises
        num_without = self.reasons.total()
        if num_without:
            why = ", ".join(f"{reason}: {count}" for reason, count in self.reasons.most_common())
            has = "has" if num_without == 1 else "have"
            yield f"{counted(num_without, 'row')} {has} no prediction ({why}); the column {REASON!r} says which"
        if self.reasons[UNDECODABLE]:
            yield "undecodable: the file isn't in the encoding that it was read in; set encoding, e.g. encoding=cp1252"
        if self.num_empty_sets:
            rows = counted(self.num_empty_sets, "row")
            yield f"{LABEL_SET} is empty in {rows}: {EMPTY_REASON}; the column {REASON!r} says which"
        if self.scores is not None:
            yield str(self.scores)
        yield f"{counted(self.num_rows - num_without, 'row')} labeled: {target}"
