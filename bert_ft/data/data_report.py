"""What to know about the data before training: one report over all splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.leaks import NUM_EXAMPLES, Leaks, find_leaks, leaks_between
from bert_ft.data.long_texts import WINDOWS, LongTexts
from bert_ft.data.report_warnings import LONGEST_ADVISED, report_warnings
from bert_ft.data.split_report import Conflict, LengthSummary, SplitReport
from bert_ft.data.targets import Targets
from bert_ft.data.texts import TextKeys
from bert_ft.data.token_use import TokenUse
from bert_ft.data.tokenization import FastTokenizer

_EXCERPT = 80  # characters of an example's text


@dataclass(frozen=True)
class DataReport:
    """The report on each split, and findings that concern several splits.

    Attributes:
        max_length: the length limit in tokens.
        splits: name → report.
        num_conflicts: number of texts that have several labels, in the same or different splits.
        conflicts: the first few of them.
        task: facts about the task (``Targets.facts``).
        long_texts: settings of windows; empty if longer texts are cut.
        warnings: one sentence per problem that may spoil training or its score, with an override that helps,
            if there is one.
        leaks: of every pair of splits that shares texts.
    """

    max_length: int
    splits: dict[str, SplitReport]
    num_conflicts: int
    conflicts: list[Conflict]
    task: dict[str, Any]
    warnings: list[str]
    leaks: list[Leaks]
    long_texts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can hold."""
        return asdict(self)

    def rows(self) -> list[dict[str, str]]:
        """Return a table of one line per split: heading → cell."""
        return [
            {
                "split": name,
                "rows": f"{split.num_rows:,}",
                "tokens: mean": f"{split.lengths.mean:.1f}",
                "median": f"{split.lengths.p50:.0f}",
                "95%": f"{split.lengths.p95:.0f}",
                "longest": f"{split.lengths.max:,}",
                **_windows(split),
                "rows cut": f"{split.truncated_ratio:.1%}",
                "tokens lost": f"{split.lost_ratio:.1%}",
                "unknown tokens": f"{split.unknown_ratio:.1%}",
                "tokens per word": f"{split.tokens_per_word:.2f}",
                "duplicates": f"{split.num_duplicates:,}",
                "leaks": f"{split.num_leaks:,}",
                "near leaks": f"{split.num_near_leaks:,}",
            }
            for name, split in self.splits.items()
        ]

    def label_rows(self) -> list[dict[str, str]]:
        """Return a table of one line for each thing that the task counts: its name, then its number in each split."""
        names = next(iter(self.splits.values())).label_counts
        return [
            {"label": name} | {key: _number(split.label_counts[name]) for key, split in self.splits.items()}
            for name in names
        ]


def make_report(
    splits: Mapping[str, TokenizedSplit],
    keys: Mapping[str, TextKeys],
    task: Targets,
    max_length: int,
    *,
    tokenizer: FastTokenizer | None = None,
    set_aside: Collection[str] = (),
    long_texts: LongTexts = LongTexts(),  # noqa: B008 (frozen)
) -> DataReport:
    """Return the report on labeled ``splits``, one of which is ``train``.

    Args:
        splits: name → split, ``train`` first.
        keys: name of the split → keys of its texts.
        task: the task of their labels.
        max_length: the length limit in tokens.
        tokenizer: the tokenizer of their ids; without it unknown tokens and words are not reported.
        set_aside: names of the splits that were cut from the training rows.
        long_texts: what became of longer rows.
    """
    reports = {
        name: _split_report(splits[name], keys[name], keys["train"], task, tokenizer, long_texts)
        for name in splits
    }
    num_conflicts, conflicts = _conflicts(splits, keys, task)
    leaks = leaks_between(keys, {name: split.rows for name, split in splits.items()})
    limit = max_length if tokenizer is None else min(tokenizer.model_max_length, LONGEST_ADVISED)
    return DataReport(
        max_length=max_length,
        splits=reports,
        num_conflicts=num_conflicts,
        conflicts=conflicts,
        task=task.facts(),
        warnings=list(
            report_warnings(reports, leaks, conflicts, num_conflicts, task, set_aside, max_length, limit)
        ),
        leaks=leaks,
        long_texts=long_texts.described(),
    )


def _split_report(
    split: TokenizedSplit,
    keys: TextKeys,
    train: TextKeys,
    task: Targets,
    tokenizer: FastTokenizer | None,
    long_texts: LongTexts,
) -> SplitReport:
    exact, near = find_leaks(keys, train)
    if split.name == "train":
        exact = near = np.zeros(len(split), dtype=bool)
    use = TokenUse(0.0, 0.0) if tokenizer is None else TokenUse.of(split, tokenizer)
    lost, full_lengths = split.num_truncated, split.full_lengths
    is_windowed = long_texts.mode == WINDOWS
    return SplitReport(
        num_rows=len(split),
        label_counts={
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in task.summary(split.known_labels).items()
        },
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


def _windows(split: SplitReport) -> dict[str, str]:
    if split.num_windows is None:
        return {}
    return {"windows": f"{split.num_windows:,}", "most windows": f"{split.most_windows:,}"}


def _conflicts(
    splits: Mapping[str, TokenizedSplit], keys: Mapping[str, TextKeys], task: Targets
) -> tuple[int, list[Conflict]]:
    """The number of conflicts and the first few, in the order of the splits and their rows."""
    all_keys = np.concatenate([keys[name].exact for name in splits])
    targets = task.target_keys(np.concatenate([split.known_labels for split in splits.values()]))
    order = np.argsort(all_keys, kind="stable")
    starts = np.flatnonzero(np.diff(all_keys[order], prepend=all_keys[order[:1]] + 1))
    sorted_targets = targets[order]
    differ = np.minimum.reduceat(sorted_targets, starts) != np.maximum.reduceat(sorted_targets, starts)
    first = np.sort(order[starts[differ]])
    examples = [np.flatnonzero(all_keys == all_keys[row]) for row in first[:NUM_EXAMPLES]]
    return len(first), [_conflict(rows, splits, task) for rows in examples]


def _conflict(rows: np.ndarray, splits: Mapping[str, TokenizedSplit], task: Targets) -> Conflict:
    ends = np.cumsum([len(split) for split in splits.values()])
    located = []
    for row in rows.tolist():
        part = int(np.searchsorted(ends, row, side="right"))
        split = list(splits.values())[part]
        located.append((split, row - int(ends[part]) + len(split)))
    split, position = located[0]
    return Conflict(
        text=split.texts[position]["text"][:_EXCERPT],
        places=[
            f"{split.name} row {split.rows[position]}: {task.describe(split.known_labels[position])}"
            for split, position in located[:NUM_EXAMPLES]
        ],
    )


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
