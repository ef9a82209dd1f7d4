"""What a data report counts of one split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LengthSummary:
    """Statistics of tokens per row before truncation, including special tokens."""

    mean: float
    p50: float
    p95: float
    max: int

    @classmethod
    def of(cls, lengths: np.ndarray) -> LengthSummary:
        """Return the summary of ``(num_rows,)`` lengths."""
        p50, p95 = np.percentile(lengths, [50, 95])
        return cls(float(lengths.mean()), float(p50), float(p95), int(lengths.max()))


@dataclass(frozen=True)
class SplitReport:
    """Counts of one split.

    Attributes:
        label_counts: counts of the task, name → number; for classes, rows of each class.
        lengths: tokens in a row.
        truncated_ratio: share of the rows that are cut to the length limit.
        lost_ratio: share of all tokens that is cut away.
        num_duplicates: number of rows whose exact text is in an earlier row of the split.
        num_leaks: number of rows whose exact text is also in the training split; 0 for that split itself.
        num_near_leaks: number of other rows whose text differs from one there only in case, white space or Unicode form.
        leak_rows: numbers of the first rows that are leaks of either kind.
        unknown_ratio: share of unknown tokens.
        tokens_per_word: mean number of tokens per word.
        num_windows: number of windows of all rows, if long texts are windowed.
        most_windows: number of windows of the longest row.
    """

    num_rows: int
    label_counts: dict[str, int | float]
    lengths: LengthSummary
    truncated_ratio: float
    lost_ratio: float
    num_duplicates: int
    num_leaks: int
    num_near_leaks: int
    leak_rows: list[int]
    unknown_ratio: float = 0.0
    tokens_per_word: float = 0.0
    num_windows: int | None = None
    most_windows: int | None = None


@dataclass(frozen=True)
class Conflict:
    """One text with several labels.

    Attributes:
        text: the beginning of the text.
        places: split, row and label of the first of its rows.
    """

    text: str
    places: list[str]
