"""Counts of one split in a data report.

A new count is an attribute of ``SplitReport``, its value in ``SplitReport.of``, and its column in ``bert_ft.split_columns``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.leaks import NUM_EXAMPLES, find_leaks
from bert_ft.data.texts import TextKeys
from bert_ft.data.token_use import TokenUse
from bert_ft.data.tokenization import FastTokenizer


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
        num_near_leaks: number of other rows whose text differs from a training text only in case, white space
            or Unicode form.
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

    @classmethod
    def of(
        cls,
        split: TokenizedSplit,
        keys: TextKeys,
        train: TextKeys | None,
        tokenizer: FastTokenizer | None,
        label_counts: dict[str, int | float],
        *,
        is_windowed: bool = False,
    ) -> SplitReport:
        """Count one split.

        Args:
            split: the split.
            keys: keys of its texts.
            train: keys of the training texts, for leaks; ``None`` if they aren't looked for.
            tokenizer: the tokenizer of its ids; without it unknown tokens and words are not counted.
            label_counts: counts of the task.
            is_windowed: whether long texts are divided into windows.
        """
        none = np.zeros(len(split), dtype=bool)
        exact, near = (none, none) if train is None else find_leaks(keys, train)
        use = TokenUse(0.0, 0.0) if tokenizer is None else TokenUse.of(split, tokenizer)
        lost, full_lengths = split.num_truncated, split.full_lengths
        return cls(
            num_rows=len(split),
            label_counts=label_counts,
            lengths=LengthSummary.of(full_lengths),
            truncated_ratio=float((lost > 0).mean()),
            lost_ratio=float(lost.sum() / max(full_lengths.sum(), 1)),
            num_duplicates=len(split) - len(np.unique(keys.exact)),
            num_leaks=int(exact.sum()),
            num_near_leaks=int(near.sum()),
            leak_rows=split.rows[exact | near][:NUM_EXAMPLES].tolist(),
            unknown_ratio=use.unknown_ratio,
            tokens_per_word=use.tokens_per_word,
            num_windows=int(split.num_windows.sum()) if is_windowed else None,
            most_windows=int(split.num_windows.max(initial=0)) if is_windowed else None,
        )


@dataclass(frozen=True)
class Conflict:
    """One text with several labels.

    Attributes:
        text: the beginning of the text.
        places: split, row and label of the first of its rows.
    """

    text: str
    places: list[str]
